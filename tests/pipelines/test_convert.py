"""The command `convert` writes boxes to Raven and Audacity files, and reads them back."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.annotations import (
    AnnotationError,
    read_audacity,
    read_raven,
    rejected,
    write_audacity,
    write_raven,
)
from features.data.dataset import BOX_COLUMNS, load_dataset
from pipelines.convert import export_boxes, import_boxes

RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
)


@pytest.mark.parametrize("form", ["raven", "audacity"])
def test_import_restores_an_exported_data_set(small_dataset: Path, tmp_path: Path, form: str) -> None:
    boxes = pd.read_csv(small_dataset / "train_tp.csv")
    boxes.loc[0, ["t_min", "f_max", "songtype_id"]] = 1 / 3, 2999.123456789, 4
    boxes.to_csv(small_dataset / "train_tp.csv", index=False)
    dataset = load_dataset(small_dataset)
    export_boxes(dataset, tmp_path / "files", form)
    again = import_boxes(small_dataset / "train", tmp_path / "files", tmp_path / "again")
    assert again.species == dataset.species
    for before, after in ((dataset.tp, again.tp), (dataset.fp, again.fp)):
        keys = ["recording_id", "t_min", "species_id"]
        pd.testing.assert_frame_equal(
            after[list(BOX_COLUMNS)].sort_values(keys).reset_index(drop=True),
            before[list(BOX_COLUMNS)].sort_values(keys).reset_index(drop=True),
        )
    assert dataset.train_labels is not None
    assert again.train_labels is not None
    np.testing.assert_array_equal(again.train_labels, dataset.train_labels)
    assert list(again.train) == list(dataset.train)


def raven_table(*rows: tuple[object, ...], extra: tuple[str, ...] = ("Species",)) -> str:
    """Return a Raven selection table with the columns of Raven Pro and the columns `extra`."""
    return "\n".join("\t".join(map(str, row)) for row in ((*RAVEN_COLUMNS, *extra), *rows)) + "\n"


def test_written_files_have_the_formats_of_raven_and_audacity(tmp_path: Path) -> None:
    boxes = pd.DataFrame(
        {
            "species": ["owl"],
            "t_min": [0.5],
            "t_max": [2.0],
            "f_min": [500.0],
            "f_max": [900.0],
            "score": [0.9],
        }
    )
    write_raven(tmp_path / "x.txt", boxes)
    assert (tmp_path / "x.txt").read_text().splitlines() == [
        "\t".join((*RAVEN_COLUMNS, "Species", "Score")),
        "1\tSpectrogram 1\t1\t0.5\t2.0\t500.0\t900.0\towl\t0.9",
    ]
    write_audacity(tmp_path / "y.txt", boxes)
    assert (tmp_path / "y.txt").read_text() == "0.5\t2.0\towl\n\\\t500.0\t900.0\n"
    for read in (read_raven(tmp_path / "x.txt"), read_audacity(tmp_path / "y.txt")):
        assert not rejected(read).any()
        assert read[["species", "t_min", "t_max", "f_min", "f_max"]].to_numpy().tolist() == [
            ["owl", 0.5, 2.0, 500.0, 900.0]
        ]


def test_selection_is_read_once_and_a_rejected_one_is_an_fp_box(small_dataset: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a0.Table.1.selections.txt").write_text(
        raven_table(
            (1, "Waveform 1", 1, 0.2, 0.9, 0, 8000, "owl", "yes"),
            (1, "Spectrogram 1", 1, 0.2, 0.9, 500, 900, "owl", "yes"),
            (2, "Spectrogram 1", 1, 1.2, 1.9, 500, 900, "frog", "Rejected"),
            extra=("Species", "Verified"),
        )
    )
    dataset = import_boxes(small_dataset / "train", files, tmp_path / "data")
    assert dataset.species == ("frog", "owl")
    assert dataset.tp[["recording_id", "species_id", "f_min"]].to_numpy().tolist() == [["a0", 1, 500.0]]
    assert dataset.fp[["recording_id", "species_id", "t_max"]].to_numpy().tolist() == [["a0", 0, 1.9]]


def test_table_of_several_recordings_is_split_by_file(small_dataset: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "all.selections.txt").write_text(
        raven_table(
            (1, "Spectrogram 1", 1, 0.2, 0.9, 500, 900, "owl", "a0.flac", 0.2),
            (2, "Spectrogram 1", 1, 2.5, 3.0, 500, 900, "owl", "a1.flac", 0.5),
            extra=("Species", "Begin File", "File Offset (s)"),
        )
    )
    dataset = import_boxes(small_dataset / "train", files, tmp_path / "data")
    assert dataset.tp[["recording_id", "t_min", "t_max"]].to_numpy().tolist() == [
        ["a0", 0.2, 0.9],
        ["a1", 0.5, 1.0],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"no \.txt annotation files found"),
        (raven_table((1, "Spectrogram 1", 1, "x", 1, 5, 9, "owl")), r"Begin Time \(s\) 'x' is not a number"),
        (raven_table((1, "Spectrogram 1", 1, 0, 1, 5, 9, "")), "selection 1 has no species"),
        (raven_table((1, "Spectrogram 1", 1, 0, 1, 5, 9), extra=()), "missing column 'Species'"),
        (
            raven_table((1, "Spectrogram 1", 1, 0, 1, 5, 9, "owl", "maybe"), extra=("Species", "Verified")),
            "has 'maybe' in column verified; write 'yes' for a confirmed box",
        ),
        ("0.1\t0.2\towl\n0.3\t0.4\towl\n", "missing line of frequencies after '0.1 0.2 owl'"),
        ("\x00\xff", "not a label track|missing line of frequencies"),
    ],
)
def test_invalid_annotation_file_is_rejected(
    small_dataset: Path, tmp_path: Path, content: str, message: str
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a0.txt").write_text(content)
    if not content:
        (files / "a0.txt").unlink()
    with pytest.raises(AnnotationError, match=message):
        import_boxes(small_dataset / "train", files, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_boxes_of_a_recording_without_audio_are_rejected(small_dataset: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    export_boxes(load_dataset(small_dataset), files, "raven")
    shutil.copy(files / "a0.Table.1.selections.txt", files / "b0.Table.1.selections.txt")
    with pytest.raises(AnnotationError, match=r"b0.*: recording 'b0' has no audio"):
        import_boxes(small_dataset / "train", files, tmp_path / "data")


def test_species_are_numbered_by_name_or_as_in_species_csv(small_dataset: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    export_boxes(load_dataset(small_dataset), files, "raven")
    (files / "species.csv").unlink()
    dataset = import_boxes(small_dataset / "train", files, tmp_path / "data")
    assert dataset.species == ("coqui", "frog", "owl")
    (files / "species.csv").write_text("species_id,name\n0,owl\n1,coqui\n")
    with pytest.raises(AnnotationError, match=r"species\.csv: missing species 'frog'"):
        import_boxes(small_dataset / "train", files, tmp_path / "data")
