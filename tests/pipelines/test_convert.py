"""The command `convert` exports boxes to Raven and Audacity files, and imports them into a data set."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.annotations.importing import import_labels
from features.data.dataset import BOX_COLUMNS, load_dataset
from tests.conftest import error_message, run_command

FORMATS = [("--format", "raven"), ("--format", "raven", "--per-recording")]
FORMATS.append(("--format", "audacity", "--per-recording"))


@pytest.mark.parametrize("flags", FORMATS)
def test_import_restores_an_exported_data_set(
    small_dataset: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    boxes = pd.read_csv(small_dataset / "train_tp.csv")
    boxes.loc[0, ["t_min", "f_max", "songtype_id"]] = 1 / 3, 2999.123456789, 4
    boxes.to_csv(small_dataset / "train_tp.csv", index=False)
    dataset = load_dataset(small_dataset)
    done = run_command("convert", "export", small_dataset, "--out", tmp_path / "files", *flags)
    assert done.stdout == f"{tmp_path / 'files'}: 12 boxes of 6 recordings\n"
    import_labels(small_dataset / "train", tmp_path / "files", tmp_path / "again")
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


def test_recordings_without_boxes_have_no_file(small_dataset: Path, tmp_path: Path) -> None:
    for name in ("train_tp.csv", "train_fp.csv"):
        boxes = pd.read_csv(small_dataset / name)
        boxes[~boxes["recording_id"].isin(["a1", "a4"])].to_csv(small_dataset / name, index=False)
    for flags in FORMATS[1:]:
        out = tmp_path / flags[1]
        run_command("convert", "export", small_dataset, "--out", out, *flags)
        names = {file.name.split(".")[0] for file in out.glob("*.txt")}
        assert names == {"a0", "a2", "a3", "a5"}


def test_combined_table_has_all_recordings_in_sequence(small_dataset: Path, tmp_path: Path) -> None:
    run_command("convert", "export", small_dataset, "--out", tmp_path)
    table = pd.read_csv(tmp_path / "boxes.selections.txt", sep="\t")
    assert len(table) == 12
    row = table[table["Begin File"] == "a3.flac"].iloc[0]
    assert row["Begin Path"] == str(small_dataset / "train" / "a3.flac")
    assert row["File Offset (s)"] == 0.2
    assert row["Begin Time (s)"] == 6.2  # after three recordings of 2 s


def test_camtrap_package_needs_time_and_place(small_dataset: Path, tmp_path: Path) -> None:
    flags = ("convert", "export", small_dataset, "--out", tmp_path / "package", "--format", "camtrap-dp")
    message = error_message(run_command(*flags))
    assert "6 of 6 recordings have no start with a UTC offset (first: 'a0')" in message
    assert f"{tmp_path / 'package'}: Camtrap DP requires" in message
    assert [file.name for file in (tmp_path / "package").iterdir()] == [".lock"]
    rows = [f"a{k},pond,2024-03-15T05:3{k}:00-04:00,18.3,-65.8" for k in range(6)]
    table = "\n".join(["recording_id,site,start,latitude,longitude", *rows])
    (small_dataset / "recordings.csv").write_text(table)
    assert run_command(*flags).returncode == 0
    observations = pd.read_csv(tmp_path / "package" / "observations.csv")
    assert len(observations) == 6  # the TP boxes
    assert set(observations["classificationMethod"]) == {"human"}
    assert set(observations["scientificName"]) == {"coqui", "owl", "frog"}
    assert pd.read_csv(tmp_path / "package" / "deployments.csv")["locationName"].tolist() == ["pond"]


def test_export_does_not_replace_the_data_set_or_other_files(small_dataset: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in small_dataset.glob("*.csv")}
    flags = ("convert", "export", small_dataset, "--out")
    message = error_message(run_command(*flags, small_dataset))
    assert "is the data set itself; give another folder with --out" in message
    assert {file: file.read_bytes() for file in small_dataset.glob("*.csv")} == before
    assert not (small_dataset / ".lock").exists()
    (tmp_path / "notes.txt").touch()
    assert run_command(*flags, tmp_path).returncode == 0
    assert (tmp_path / "notes.txt").exists()


def test_export_removes_earlier_exports_but_not_reviewed_files(small_dataset: Path, tmp_path: Path) -> None:
    flags = ("convert", "export", small_dataset, "--out", tmp_path / "files", "--per-recording", "--format")
    run_command(*flags, "raven")
    (small_dataset / "train_labels.csv").unlink()
    run_command(*flags, "audacity")
    names = {file.name for file in (tmp_path / "files").iterdir() if not file.name.startswith(".")}
    assert names == {"species.csv", *(f"a{k}.txt" for k in range(6))}
    with (tmp_path / "files" / "a0.txt").open("a") as reviewed:
        reviewed.write("1.2\t1.5\towl\n")
    assert "a0.txt: changed since it was written" in error_message(run_command(*flags, "raven"))
    assert (tmp_path / "files" / "a0.txt").read_text().endswith("owl\n")


def test_names_like_formulas_are_escaped_and_restored(small_dataset: Path, tmp_path: Path) -> None:
    species = pd.read_csv(small_dataset / "species.csv")
    names = ["=1+1", "-owl", "@frog"]
    species.assign(name=[f"'{name}" for name in names]).to_csv(small_dataset / "species.csv", index=False)
    assert load_dataset(small_dataset).species == tuple(names)
    run_command("convert", "export", small_dataset, "--out", tmp_path / "files")
    written = (tmp_path / "files" / "presence.csv").read_text()
    assert written.startswith("recording_id,'=1+1,'-owl,'@frog\n")
    import_labels(small_dataset / "train", tmp_path / "files", tmp_path / "again")
    assert load_dataset(tmp_path / "again").species == tuple(names)


def test_formats_per_recording_need_the_flag(small_dataset: Path, tmp_path: Path) -> None:
    flags = ("convert", "export", small_dataset, "--out", tmp_path / "files", "--format")
    assert "add --per-recording" in error_message(run_command(*flags, "audacity"))
    done = run_command(*flags, "camtrap-dp", "--per-recording")
    assert "remove the flag" in error_message(done)


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
    (small_dataset / "train").rename(tmp_path / "moved")
    (tmp_path / "moved" / "recordings.csv").write_text("recording_id,site\na0,pond\n")
    third = run_command("convert", "import", tmp_path / "moved", *flags[2:]).stdout.splitlines()
    assert third[-3:-1] == ["recordings that were moved: 6 (recordings.csv is updated)", "new recordings: 0"]
    fourth = run_command("convert", "import", tmp_path / "moved", "--out", tmp_path / "data", "--boxes",
                         labels / "a0.txt").stdout  # fmt: skip
    assert "files 1, boxes 2" in fourth
    assert "not label files" not in fourth
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


def test_folder_without_recordings_is_rejected(tmp_path: Path) -> None:
    done = run_command("convert", "import", tmp_path, "--out", tmp_path / "data")
    assert f"{tmp_path}: no recordings found; .flac, .wav, .ogg and .mp3 files can be read" in error_message(
        done
    )


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
