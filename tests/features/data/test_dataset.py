"""Valid data sets are read. Invalid ones raise a one-line error with the file, the value and the remedy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from features.data.audio import file_of
from features.data.dataset import load_dataset, validate_boxes_begin_inside
from features.data.tables import DatasetError
from pipelines.core.cli import run, training_parser
from pipelines.core.task import load_task


def replace_text(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Return a function that replaces the first occurrence of a text in a table of a data set."""

    def edit(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def recode(file: str, name: str, encoding: str) -> Callable[[Path], None]:
    """Return a function that renames the species "owl" and saves the table in the given encoding."""

    def edit(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8").replace("owl", name)
        (root / file).write_bytes(text.encode(encoding))

    return edit


def empty_train(root: Path) -> None:
    for file in (root / "train").iterdir():
        file.unlink()


def two_formats(root: Path) -> None:
    shutil.copy(root / "train" / "a1.flac", root / "train" / "a1.wav")


def semicolons(root: Path) -> None:
    file = root / "train_tp.csv"
    file.write_text(file.read_text().replace(",", ";"))


INVALID = {
    "missing folder": (lambda root: shutil.rmtree(root), r"small: no such folder; give"),
    "missing TP table": (
        lambda root: (root / "train_tp.csv").unlink(),
        r"train_tp\.csv: file not found; add it, or correct the path",
    ),
    "missing column": (
        replace_text("train_tp.csv", "t_max", "tmax"),
        r"train_tp\.csv: missing column 't_max' \(found: recording_id, .*add it",
    ),
    "semicolons": (semicolons, r"train_tp\.csv: missing column 'recording_id'.*commas"),
    "species out of range": (
        replace_text("train_fp.csv", "a1,2,", "a1,3,"),
        r"train_fp\.csv line 3: species_id 3 is outside 0\.\.2; correct",
    ),
    "species not an integer": (
        replace_text("train_tp.csv", "a1,1,", "a1,1.5,"),
        r"train_tp\.csv line 3: species_id '1\.5' is not a species number; correct",
    ),
    "species too large": (
        replace_text("train_tp.csv", "a1,1,", "a1,99999999999999999999,"),
        r"train_tp\.csv line 3: species_id '9{20}' is not a species number; correct",
    ),
    "time not a number": (
        replace_text("train_tp.csv", "a1,1,1,0.2", "a1,1,1,soon"),
        r"train_tp\.csv line 3: t_min 'soon' is not a number >= 0; correct",
    ),
    "negative time": (
        replace_text("train_tp.csv", "a1,1,1,0.2", "a1,1,1,-0.2"),
        r"train_tp\.csv line 3: t_min '-0\.2' is not a number >= 0; correct",
    ),
    "implausible time": (
        replace_text("train_tp.csv", "a1,1,1,0.2,500.0,1.1", "a1,1,1,0.2,500.0,1.7e308"),
        r"train_tp\.csv line 3: t_max '1\.7e308' is above 1e\+07 s; correct",
    ),
    "box without duration": (
        replace_text("train_tp.csv", "a1,1,1,0.2,500.0,1.1", "a1,1,1,0.2,500.0,0.2"),
        r"train_tp\.csv line 3: t_max 0\.2 is not above t_min 0\.2; correct or remove",
    ),
    "box with f_max below f_min": (
        replace_text("train_tp.csv", "a1,1,1,0.2,500.0", "a1,1,1,0.2,5000.0"),
        r"train_tp\.csv line 3: f_max 3000 is not above f_min 5000; correct or remove",
    ),
    "box without recording": (
        replace_text("train_fp.csv", "a2,", "b2,"),
        r"train_fp\.csv line 4: recording 'b2' has no audio in train; add the file or remove",
    ),
    "id is a path": (
        replace_text("train_tp.csv", "a3,", "../a3,"),
        r"train_tp\.csv line 5: recording_id '\.\./a3' is not a path below the folder of recordings",
    ),
    "duplicate id in a table": (
        replace_text("test_labels.csv", "t1,", "t0,"),
        r"test_labels\.csv line 3: duplicate recording_id 't0'; keep one line",
    ),
    "duplicate id on disk": (
        two_formats,
        r"a1\.wav: duplicate recording id 'a1' \(also a1\.flac\); keep one",
    ),
    "duplicate column": (
        replace_text("train_tp.csv", "f_min", " t_min"),
        r"train_tp\.csv: duplicate column 't_min'; keep one",
    ),
    "empty train set": (empty_train, r"train: contains no recordings; \.flac"),
    "empty TP table": (
        lambda root: (root / "train_tp.csv").write_text(
            "recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max\n"
        ),
        r"train_tp\.csv: contains no boxes; add at least one",
    ),
    "wrong encoding": (
        recode("species.csv", "coquí", "latin-1"),
        r"species\.csv: byte 0xed .* not UTF-8; save",
    ),
    "empty table": (
        lambda root: (root / "train_fp.csv").write_text(""),
        r"train_fp\.csv: not a CSV table.*save",
    ),
    "blank table": (
        lambda root: (root / "train_fp.csv").write_text("\n"),
        r"train_fp\.csv: (missing column 'recording_id'|not a CSV table)",
    ),
    "species counts differ": (
        replace_text("species.csv", "2,frog\n", ""),
        r"differ in their number of species \(sample_submission\.csv 3, species\.csv 2.*correct them",
    ),
    "species without a name": (
        replace_text("species.csv", "2,frog", "2, "),
        r"species\.csv line 4: species 2 has no name; add it",
    ),
    "species with a line break in its name": (
        replace_text("species.csv", "2,frog", '2,"fr\nog"'),
        r"species\.csv line 4: species 2 has a control character; remove it",
    ),
    "species ids with a gap": (
        replace_text("species.csv", "2,frog", "7,frog"),
        r"species\.csv: species_id must be 0\.\.2, once each \(found: 0, 1, 7\); renumber",
    ),
    "columns out of order": (
        replace_text("sample_submission.csv", "s0,s1", "s1,s0"),
        r"sample_submission\.csv: column 's1' is out of order; the columns must be recording_id,s0\.\.s2",
    ),
    "submission without audio": (
        replace_text("sample_submission.csv", "t1,", "t9,"),
        r"sample_submission\.csv line 3: recording 't9' has no audio in test; add",
    ),
    "missing label": (
        replace_text("train_labels.csv", "a4,0,1,0\n", ""),
        r"train_labels\.csv: missing recording 'a4'; add its line",
    ),
    "label not 0 or 1": (
        replace_text("test_labels.csv", "t0,1", "t0,0.5"),
        r"test_labels\.csv: recording 't0' has label 0\.5 for s0; labels must be 0 or 1",
    ),
    "label contradicts a box": (
        replace_text("train_labels.csv", "a1,0,1,0", "a1,1,0,0"),
        r"train_tp\.csv line 3: TP box of species 1 in 'a1', but train_labels\.csv has 0; correct",
    ),
    "empty group": (
        replace_text("groups.csv", "a5,z", "a5,"),
        r"groups\.csv line 7: recording 'a5' has no group; add one",
    ),
    "missing group": (
        replace_text("groups.csv", "a5,z\n", ""),
        r"groups\.csv: missing recording 'a5'; add its line",
    ),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_data_set_prints_one_line_and_exits_with_status_2(
    small_dataset: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, message = INVALID[kind]
    edit(small_dataset)
    with pytest.raises(DatasetError, match=message):
        load_dataset(small_dataset)
    results = small_dataset.parent / "results"
    monkeypatch.setattr("sys.argv", ["gbm.py", "--data", str(small_dataset), "--results", str(results)])
    with pytest.raises(SystemExit) as exit_info:
        run(lambda args: print(load_task(args)), training_parser("test"))
    assert exit_info.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert not results.exists()


def test_complete_layout_is_read(small_dataset: Path) -> None:
    dataset = load_dataset(small_dataset)
    assert dataset.name == "small"
    assert dataset.species == ("coqui", "owl", "frog")
    assert list(dataset.train) == [f"a{k}" for k in range(6)]
    assert list(dataset.test) == ["t0", "t1"]
    assert dataset.train_labels is not None
    assert dataset.train_labels.argmax(axis=1).tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.test_labels is not None
    assert dataset.test_labels.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert len(set(dataset.groups)) == 6
    assert dataset.tp["species_id"].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.tp.index[0] == 2  # line in the table
    assert dataset.species_without_tp() == []


def test_recordings_and_tp_boxes_are_sufficient(small_dataset: Path) -> None:
    for file in small_dataset.glob("*.csv"):
        if file.name != "train_tp.csv":
            file.unlink()
    shutil.rmtree(small_dataset / "test")
    dataset = load_dataset(small_dataset)
    assert dataset.species == ("s0", "s1", "s2")
    assert dataset.test == {}
    assert dataset.fp.empty
    assert dataset.train_labels is None
    assert len(set(dataset.groups)) == 6


def test_species_without_tp_box_is_kept_and_reported(small_dataset: Path) -> None:
    lines = (small_dataset / "train_tp.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if ",1,1," not in line]
    assert len(kept) == len(lines) - 2
    (small_dataset / "train_tp.csv").write_text("".join(kept))
    dataset = load_dataset(small_dataset)
    assert dataset.n_species == 3
    assert dataset.species_without_tp() == ["owl"]


def test_test_recordings_are_in_the_order_of_the_sample_submission(small_dataset: Path) -> None:
    (small_dataset / "sample_submission.csv").write_text("recording_id,s0,s1,s2\nt1,0,0,0\nt0,0,0,0\n")
    dataset = load_dataset(small_dataset)
    assert list(dataset.test) == ["t1", "t0"]
    assert dataset.test_labels is not None
    assert dataset.test_labels.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_byte_order_mark_and_crlf_are_read(small_dataset: Path) -> None:
    for name in ("train_tp.csv", "species.csv"):
        file = small_dataset / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load_dataset(small_dataset).species[2] == "frog"


def test_recordings_with_the_same_group_name_have_the_same_group(small_dataset: Path) -> None:
    (small_dataset / "groups.csv").write_text(
        "group,recording_id\n" + "".join(f"site {k // 2},a{k}\n" for k in range(6))
    )
    groups = load_dataset(small_dataset).groups
    assert (groups[::2] == groups[1::2]).all()
    assert len(np.unique(groups)) == 3


def test_line_numbers_include_blank_lines(small_dataset: Path) -> None:
    replace_text("train_tp.csv", "a1,1,", "\n\na1,9,")(small_dataset)
    with pytest.raises(DatasetError, match=r"train_tp\.csv line 5: species_id 9 is outside"):
        load_dataset(small_dataset)


def test_species_id_far_above_the_number_of_species_is_rejected(small_dataset: Path) -> None:
    for file in small_dataset.glob("*.csv"):
        if file.name != "train_tp.csv":
            file.unlink()
    replace_text("train_tp.csv", "a1,1,", "a1,1000000,")(small_dataset)
    with pytest.raises(DatasetError, match=r"boxes have 4 species but a species_id of 1000000; number"):
        load_dataset(small_dataset)


def test_box_that_begins_after_the_end_is_rejected(small_dataset: Path) -> None:
    replace_text("train_tp.csv", "a1,1,1,0.2,500.0,1.1", "a1,1,1,3.2,500.0,4.1")(small_dataset)
    dataset = load_dataset(small_dataset)
    duration = dict.fromkeys(dataset.train, 2.0)
    with pytest.raises(
        DatasetError, match=r"train_tp\.csv line 3: t_min 3\.2 is past the end of 'a1' \(2 s\)"
    ):
        validate_boxes_begin_inside(dataset, duration)
    validate_boxes_begin_inside(dataset, {**duration, "a1": 5.0})


def test_without_removes_recordings_and_their_boxes_and_labels(small_dataset: Path) -> None:
    dataset = load_dataset(small_dataset).without(train=["a1", "a4"], test=["t0"])
    assert list(dataset.train) == ["a0", "a2", "a3", "a5"]
    assert list(dataset.test) == ["t1"]
    assert dataset.unscored == ("t0",)
    assert set(dataset.tp["recording_id"]) == set(dataset.fp["recording_id"]) == set(dataset.train)
    assert dataset.train_labels is not None
    assert dataset.train_labels.argmax(axis=1).tolist() == [0, 2, 0, 2]
    assert dataset.test_labels is not None
    assert dataset.test_labels.tolist() == [[0, 1, 0]]
    assert len(dataset.groups) == 4
    with pytest.raises(DatasetError, match="no recording with a TP box can be decoded"):
        dataset.without(train=list(dataset.train), test=[])


def in_site_folders(root: Path) -> Path:
    """Move the training recordings of the small data set to two site folders; remove groups.csv."""
    (root / "groups.csv").unlink()
    for name in ("train_tp.csv", "train_fp.csv", "train_labels.csv"):
        text = (root / name).read_text()
        for k in range(6):
            text = text.replace(f"a{k},", f"{'pond' if k < 4 else 'ridge'}/a{k},")
        (root / name).write_text(text)
    for k in range(6):
        folder = root / "train" / ("pond" if k < 4 else "ridge")
        folder.mkdir(exist_ok=True)
        (root / "train" / f"a{k}.flac").rename(folder / f"a{k}.flac")
    return root


def test_recordings_in_site_folders_are_grouped_by_site(small_dataset: Path) -> None:
    dataset = load_dataset(in_site_folders(small_dataset))
    assert list(dataset.train) == ["pond/a0", "pond/a1", "pond/a2", "pond/a3", "ridge/a4", "ridge/a5"]
    assert dataset.groups.tolist() == [0, 0, 0, 0, 1, 1]
    assert dataset.grouped_by == "site"
    assert dataset.site_time("ridge/a4", "train").site == "ridge"


def test_recordings_without_a_site_are_groups_of_their_own(small_dataset: Path) -> None:
    (small_dataset / "groups.csv").unlink()
    rows = ["recording_id,site,start", "a0,pond,", "a2,pond,2024-03-15T05:30", "a3,ridge,"]
    (small_dataset / "recordings.csv").write_text("\n".join(rows))
    dataset = load_dataset(small_dataset)
    assert dataset.grouped_by == "site"
    groups = dataset.groups
    assert groups[0] == groups[2]
    assert sorted(groups) == [0, 0, 1, 2, 3, 4]
    assert dataset.site_time("a2", "train").start == "2024-03-15T05:30:00"


def test_one_site_does_not_group_recordings(small_dataset: Path) -> None:
    (small_dataset / "groups.csv").unlink()
    rows = ["recording_id,site", *(f"a{k},pond" for k in range(6))]
    (small_dataset / "recordings.csv").write_text("\n".join(rows))
    dataset = load_dataset(small_dataset)
    assert (dataset.grouped_by, len(set(dataset.groups))) == ("recording", 6)


def test_groups_csv_takes_precedence_over_sites(small_dataset: Path) -> None:
    (small_dataset / "recordings.csv").write_text("recording_id,site\na0,pond\na1,ridge\n")
    assert load_dataset(small_dataset).grouped_by == "groups.csv"


@pytest.mark.parametrize("absolute", [False, True])
def test_recordings_csv_refers_to_audio_outside_the_data_set(small_dataset: Path, absolute: bool) -> None:
    audio = small_dataset.parent / "season" / "a3.flac"
    audio.parent.mkdir()
    (small_dataset / "train" / "a3.flac").rename(audio)
    file = audio if absolute else "../season/a3.flac"
    (small_dataset / "recordings.csv").write_text(f"recording_id,file\na3,{file}\n")
    dataset = load_dataset(small_dataset)
    assert list(dataset.train) == ["a0", "a1", "a2", "a4", "a5", "a3"]
    assert file_of(dataset.train["a3"]).resolve() == audio


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a3,../season/a3.flac", r"recordings\.csv line 2: recording 'a3' is also in train"),
        (
            "b,../season/b.m4a",
            r"line 2: file '\.\./season/b\.m4a' is not a recording; \.flac, ",
        ),
    ],
)
def test_invalid_reference_to_audio_is_rejected(small_dataset: Path, row: str, message: str) -> None:
    (small_dataset / "recordings.csv").write_text(f"recording_id,file\n{row}\n")
    with pytest.raises(DatasetError, match=message):
        load_dataset(small_dataset)


def test_rows_of_recordings_csv_without_a_recording_are_a_warning(small_dataset: Path) -> None:
    (small_dataset / "recordings.csv").write_text("recording_id,site\na0,pond\nA1,pond\n")
    message = r"recordings\.csv: 1 of 2 rows belong to no recording, such as 'A1'"
    with pytest.warns(UserWarning, match=message):
        load_dataset(small_dataset)


@pytest.mark.parametrize("name", ["site", "time", "t_min", "recording_id"])
def test_species_cannot_have_the_name_of_a_column_of_the_scores(small_dataset: Path, name: str) -> None:
    table = (small_dataset / "species.csv").read_text().replace("owl", name)
    (small_dataset / "species.csv").write_text(table)
    with pytest.raises(DatasetError, match=f"species 1 is named '{name}', like a column of the scores"):
        load_dataset(small_dataset)
