from pathlib import Path

import pandas as pd

from features.annotations.formats import read_labels
from features.annotations.raven import write_raven

BOXES = pd.DataFrame(
    {
        "species": ["owl", "tree frog", 'the "owl"'],
        "t_min": [0.5, 1 / 3, 2.0],
        "t_max": [2.0, 0.9, 2.5],
        "f_min": [500.0, 1000.0, 0.0],
        "f_max": [900.0, 2999.123456789, 800.0],
        "verified": ["yes", "no", "yes"],
        "songtype": ["1", "4", "1"],
    }
)


def test_table_is_read_as_written(tmp_path: Path) -> None:
    write_raven(tmp_path / "a.txt", BOXES)
    name, boxes = read_labels(tmp_path / "a.txt")
    assert name == "Raven selection table"
    pd.testing.assert_frame_equal(boxes[list(BOXES)].reset_index(drop=True), BOXES, check_dtype=False)


def test_written_table_has_the_columns_of_raven(tmp_path: Path) -> None:
    write_raven(tmp_path / "a.txt", BOXES.iloc[:1].drop(columns=["verified", "songtype"]).assign(score=0.9))
    assert [line.split("\t") for line in (tmp_path / "a.txt").read_text().splitlines()] == [
        [
            *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)"),
            *("High Freq (Hz)", "Species", "Score"),
        ],
        ["1", "Spectrogram 1", "1", "0.5", "2.0", "500.0", "900.0", "owl", "0.9"],
    ]
