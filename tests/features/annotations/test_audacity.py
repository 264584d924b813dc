from pathlib import Path

import pandas as pd

from features.annotations.audacity import write_audacity
from features.annotations.formats import read_labels
from tests.features.annotations.test_raven import BOXES


def test_track_is_read_as_written(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", BOXES)
    name, boxes = read_labels(tmp_path / "a.txt")
    assert name == "Audacity label track"
    pd.testing.assert_frame_equal(boxes[list(BOXES)].reset_index(drop=True), BOXES, check_dtype=False)


def test_scores_make_labels_unreviewed_until_they_are_confirmed(tmp_path: Path) -> None:
    scored = BOXES.drop(columns=["verified", "songtype"]).assign(score=[0.25, 0.5, 0.75])
    write_audacity(tmp_path / "a.txt", scored)
    boxes = read_labels(tmp_path / "a.txt")[1]
    assert boxes["verified"].tolist() == ["", "", ""]
    assert boxes["score"].tolist() == [0.25, 0.5, 0.75]
    write_audacity(tmp_path / "a.txt", scored.assign(verified=["yes", "no", ""]))
    assert read_labels(tmp_path / "a.txt")[1]["verified"].tolist() == ["yes", "no", ""]


def test_line_breaks_in_species_names_do_not_break_a_track(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", BOXES.iloc[:1].assign(species="owl\n\tof  the wood"))
    assert read_labels(tmp_path / "a.txt")[1]["species"].tolist() == ["owl of the wood"]
