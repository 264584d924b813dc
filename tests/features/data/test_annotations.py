from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from features.common.errors import UserError
from features.data.annotations import (
    BOX,
    RAVEN_BOX,
    AnnotationError,
    read_audacity,
    read_raven,
    rejected,
    write_audacity,
    write_raven,
)

BOXES = pd.DataFrame(
    {
        "species": ["owl", "tree frog", "owl"],
        "t_min": [0.5, 1 / 3, 2.0],
        "t_max": [2.0, 0.9, 2.5],
        "f_min": [500.0, 1000.0, 0.0],
        "f_max": [900.0, 2999.123456789, 800.0],
        "verified": ["yes", "no", "yes"],
        "songtype": ["1", "4", "1"],
    }
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.txt"


def raven_table(*rows: tuple[object, ...], extra: tuple[str, ...] = ("Species",)) -> str:
    return "\n".join("\t".join(map(str, row)) for row in ((*RAVEN_BOX, *extra), *rows)) + "\n"


def test_raven_table_is_read_as_written(file: Path) -> None:
    write_raven(file, BOXES)
    pd.testing.assert_frame_equal(read_raven(file)[list(BOXES)], BOXES)


def test_audacity_track_is_read_as_written(file: Path) -> None:
    write_audacity(file, BOXES)
    pd.testing.assert_frame_equal(read_audacity(file)[list(BOXES)], BOXES)


def test_line_breaks_in_species_names_do_not_break_an_audacity_track(file: Path) -> None:
    write_audacity(file, BOXES.iloc[:1].assign(species="owl\n\tof  the wood"))
    assert read_audacity(file)["species"].tolist() == ["owl of the wood"]


def test_box_is_rejected_if_verified_says_no() -> None:
    assert rejected(BOXES).tolist() == [False, True, False]
    assert rejected(BOXES.assign(verified=["", "FP", "TP"])).tolist() == [False, True, False]
    assert not rejected(BOXES.drop(columns="verified")).any()


def test_only_spectrogram_views_are_read(file: Path) -> None:
    row = (0.5, 2.0, 500, 900, "owl")
    file.write_text(raven_table((*row, "Waveform 1"), (*row, "Spectrogram 1"), extra=("Species", "View")))
    assert len(read_raven(file)) == 1


def test_times_are_relative_to_the_file_of_the_selection(file: Path) -> None:
    extra = ("Species", "Begin File", "File Offset (s)")
    file.write_text(raven_table((62.5, 63.0, 500, 900, "owl", "b.flac", 2.5), extra=extra))
    boxes = read_raven(file)
    assert boxes["recording_id"].tolist() == ["b"]
    assert boxes[list(BOX)].to_numpy().tolist() == [[2.5, 3.0, 500.0, 900.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a selection table"),
        (raven_table((0, 1, 5, 9), extra=()), "missing column 'Species'"),
        (raven_table(("x", 1, 5, 9, "owl")), r"Begin Time \(s\) 'x' is not a number; correct it"),
        (raven_table((0, "inf", 5, 9, "owl")), r"End Time \(s\) 'inf' is not a number; correct it"),
        (raven_table((0, 1, 5, 9, "owl"), (0, 1, 5, 9, " ")), "selection 2 has no species; add it"),
        (
            raven_table((0, 1, 5, 9, "owl", "maybe"), extra=("Species", "Verified")),
            "selection 1 has 'maybe' in column verified; write 'yes' for a confirmed box",
        ),
    ],
)
def test_invalid_raven_table_is_rejected(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    with pytest.raises(AnnotationError, match=rf"a\.txt: {message}"):
        read_raven(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0.1\t0.2\towl\n0.3\t0.4\towl\n", "missing line of frequencies after '0.1 0.2 owl'; draw"),
        (b"0.1\t0.2\towl\n", "missing line of frequencies"),
        (b"0.1\tx\towl\n\\\t5\t9\n", "t_max 'x' is not a number; correct it"),
        (b"0.1\t0.2\t\n\\\t5\t9\n", "selection 1 has no species"),
        (b"\xff\xfe", "not a label track"),
    ],
)
def test_invalid_audacity_track_is_rejected(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"a\.txt: {message}"):
        read_audacity(file)


@pytest.mark.parametrize("read", [read_raven, read_audacity])
def test_link_out_of_the_folder_is_rejected(tmp_path: Path, read: Callable[[Path], pd.DataFrame]) -> None:
    (tmp_path / "boxes").mkdir()
    write_raven(tmp_path / "outside.txt", BOXES)
    (tmp_path / "boxes" / "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(UserError, match="links to a file outside"):
        read(tmp_path / "boxes" / "link.txt")
