"""The command `convert` exports boxes to Raven and Audacity files, and imports them into a data set."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.annotations.importing import import_labels
from features.data.dataset import BOX_COLUMNS, load_dataset
from features.data.recordings import find_recordings
from pipelines.convert import export_boxes
from tests.conftest import error_message, run_command


@pytest.mark.parametrize("form", ["raven", "audacity"])
def test_import_restores_an_exported_data_set(small_dataset: Path, tmp_path: Path, form: str) -> None:
    boxes = pd.read_csv(small_dataset / "train_tp.csv")
    boxes.loc[0, ["t_min", "f_max", "songtype_id"]] = 1 / 3, 2999.123456789, 4
    boxes.to_csv(small_dataset / "train_tp.csv", index=False)
    dataset = load_dataset(small_dataset)
    export_boxes(dataset, tmp_path / "files", form)
    import_labels(find_recordings(small_dataset / "train"), tmp_path / "files", tmp_path / "again")
    again = load_dataset(tmp_path / "again")
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


def test_import_says_what_it_did(small_dataset: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "README.txt").write_text("Labels of the first week.\n")
    (labels / "a0.txt").write_text("0.5\t1.0\towl\n\\\t500\t900\n1.2\t1.5\towl\n")
    (labels / "a1.txt").write_text("0.5\t1.0\tfrog | rejected\n\\\t500\t900\n0.5\t1.0\tfrog | rejected\n")
    (labels / "season.csv").write_text(
        "file,start,end,species,score\nSD7/a2.wav,0,1,owl,0.9\nSD7/a2.wav,0,1,owl,\n"
    )
    flags = ("import", small_dataset / "train", "--boxes", labels, "--out", tmp_path / "data")
    first, second = run_command("convert", *flags), run_command("convert", *flags)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        "Audacity label track: files 2, boxes 4; imported: TP 2, FP 1; duplicate: 1; not reviewed: 0",
        "table of recording, start, end and label: files 1, boxes 2; imported: TP 1, FP 0; duplicate: 0; "
        "not reviewed: 1",
        "boxes that were not reviewed are not imported; write 'yes' or 'no' in a column 'Verified'",
        "boxes without frequencies: 2 (imported with the median band of the species, or the full range)",
        "recordings found by file name, in another folder than the labels state: SD7 -> train",
        "not label files: README.txt",
        "new species: 2 (frog, owl)",
        "new recordings: 6",
        f"{tmp_path / 'data'}: 6 recordings, 2 species, 3 TP and 1 FP boxes",
    ]
    assert "imported: TP 0, FP 0; duplicate: 4" in second.stdout
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


def test_folder_without_recordings_is_rejected(tmp_path: Path) -> None:
    done = run_command("convert", "import", tmp_path, "--out", tmp_path / "data")
    assert f"{tmp_path}: no recordings found; give a folder" in error_message(done)


def test_labels_are_beside_the_recordings_by_default(small_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(small_dataset / "train", tmp_path / "season")
    (tmp_path / "season" / "a0.FLAC.Table.1.selections.txt").write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tCall\n1\t0.5\t1.0\thoot\n"
    )
    flags = ("import", tmp_path / "season", "--out", tmp_path / "data", "--copy", "--label-column")
    assert "missing column 'Song'" in error_message(run_command("convert", *flags, "Song"))
    assert not (tmp_path / "data").exists()
    assert run_command("convert", *flags, "call").returncode == 0
    assert load_dataset(tmp_path / "data").species == ("hoot",)
    assert (tmp_path / "data" / "train" / "a0.flac").exists()
