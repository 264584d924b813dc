"""Good data sets are read right, bad ones are one line that names file, value and remedy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from features.data.dataset import DatasetError, check_boxes_begin_inside, load_dataset
from pipelines.core.cli import run, training_parser
from pipelines.core.task import load_task


def replace_text(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def recode(file: str, name: str, encoding: str) -> Callable[[Path], None]:
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


BAD = {
    "no data set": (lambda root: shutil.rmtree(root), r"small: no such folder; give"),
    "no TP table": (lambda root: (root / "train_tp.csv").unlink(), r"train_tp\.csv: is missing"),
    "missing column": (
        replace_text("train_tp.csv", "t_max", "tmax"),
        r"train_tp\.csv: lacks column 't_max' \(found: recording_id, .*add it",
    ),
    "semicolons": (semicolons, r"train_tp\.csv: lacks column 'recording_id'.*commas"),
    "species outside": (
        replace_text("train_fp.csv", "a1,2,", "a1,3,"),
        r"train_fp\.csv line 3: species_id 3 is outside 0\.\.2; correct",
    ),
    "species not whole": (
        replace_text("train_tp.csv", "a1,1,", "a1,1.5,"),
        r"train_tp\.csv line 3: species_id '1\.5' is not a species' number; correct",
    ),
    "species beyond all numbers": (
        replace_text("train_tp.csv", "a1,1,", "a1,99999999999999999999,"),
        r"train_tp\.csv line 3: species_id '9{20}' is not a species' number; correct",
    ),
    "time not a number": (
        replace_text("train_tp.csv", "a1,1,1,0.2", "a1,1,1,soon"),
        r"train_tp\.csv line 3: t_min 'soon' is not a number.*correct",
    ),
    "negative time": (
        replace_text("train_tp.csv", "a1,1,1,0.2", "a1,1,1,-0.2"),
        r"train_tp\.csv line 3: t_min '-0\.2' is not a number of at least 0",
    ),
    "box without length": (
        replace_text("train_tp.csv", "a1,1,1,0.2,500.0,1.1", "a1,1,1,0.2,500.0,0.2"),
        r"train_tp\.csv line 3: t_max 0\.2 is not above t_min 0\.2; correct or remove",
    ),
    "box upside down": (
        replace_text("train_tp.csv", "a1,1,1,0.2,500.0", "a1,1,1,0.2,5000.0"),
        r"train_tp\.csv line 3: f_max 3000 is not above f_min 5000; correct or remove",
    ),
    "box of no recording": (
        replace_text("train_fp.csv", "a2,", "b2,"),
        r"train_fp\.csv line 4: recording 'b2' has no audio in train; add the file or remove",
    ),
    "id is a path": (
        replace_text("train_tp.csv", "a3,", "../a3,"),
        r"train_tp\.csv line 5: recording_id '\.\./a3' is not a file's name; ids are file stems",
    ),
    "duplicate id in a table": (
        replace_text("test_labels.csv", "t1,", "t0,"),
        r"test_labels\.csv line 3: recording_id 't0' stands there twice; keep one",
    ),
    "duplicate id on disk": (two_formats, r"a1\.wav: recording id 'a1' is also that of a1\.flac; keep one"),
    "column twice": (
        replace_text("train_tp.csv", "f_min", " t_min"),
        r"train_tp\.csv: column 't_min' stands there twice; keep one",
    ),
    "empty train set": (empty_train, r"train: holds no recordings; put \.flac"),
    "empty TP table": (
        lambda root: (root / "train_tp.csv").write_text(
            "recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max\n"
        ),
        r"train_tp\.csv: holds no boxes; at least one",
    ),
    "wrong encoding": (
        recode("species.csv", "coquí", "latin-1"),
        r"species\.csv: byte 0xed .* not UTF-8; save",
    ),
    "empty table": (
        lambda root: (root / "train_fp.csv").write_text(""),
        r"train_fp\.csv: is not a CSV table.*save",
    ),
    "blank table": (
        lambda root: (root / "train_fp.csv").write_text("\n"),
        r"train_fp\.csv: (lacks column 'recording_id'|is not a CSV table)",
    ),
    "species counts differ": (
        replace_text("species.csv", "2,frog\n", ""),
        r"differ in their number of species \(sample_submission\.csv 3, species\.csv 2.*make them agree",
    ),
    "species ids with a gap": (
        replace_text("species.csv", "2,frog", "7,frog"),
        r"species\.csv: species_id must be 0\.\.2, once each \(found: 0, 1, 7\); renumber",
    ),
    "columns out of order": (
        replace_text("sample_submission.csv", "s0,s1", "s1,s0"),
        r"sample_submission\.csv: column 's1' is out of place; the columns are recording_id,s0\.\.s2",
    ),
    "submission without audio": (
        replace_text("sample_submission.csv", "t1,", "t9,"),
        r"sample_submission\.csv line 3: recording 't9' has no audio in test; add",
    ),
    "truth with gaps": (
        replace_text("train_labels.csv", "a4,0,1,0\n", ""),
        r"train_labels\.csv: lacks recording 'a4'; truth must cover",
    ),
    "truth of halves": (
        replace_text("test_labels.csv", "t0,1", "t0,0.5"),
        r"test_labels\.csv: recording 't0' has 0\.5 for s0; labels are 0 or 1",
    ),
    "truth against a box": (
        replace_text("train_labels.csv", "a1,0,1,0", "a1,1,0,0"),
        r"train_tp\.csv line 3: a TP box shows species 1 in 'a1', but train_labels\.csv says 0; correct",
    ),
    "group without a name": (
        replace_text("groups.csv", "a5,z", "a5,"),
        r"groups\.csv line 7: recording 'a5' has no group; name one",
    ),
    "group missing": (
        replace_text("groups.csv", "a5,z\n", ""),
        r"groups\.csv: lacks recording 'a5'; add its line",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_set_is_one_line_and_exit_code_2(
    small_dataset: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, message = BAD[kind]
    edit(small_dataset)
    with pytest.raises(DatasetError, match=message):
        load_dataset(small_dataset)
    results = small_dataset.parent / "results"
    monkeypatch.setattr("sys.argv", ["gbm.py", "--data", str(small_dataset), "--results", str(results)])
    with pytest.raises(SystemExit) as stopped:
        run(lambda args: print(load_task(args)), training_parser("test"))
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert not results.exists()


def test_the_whole_layout_is_read(small_dataset: Path) -> None:
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
    assert dataset.tp.index[0] == 2  # the table's line
    assert dataset.species_without_tp() == []


def test_train_and_tp_boxes_are_enough(small_dataset: Path) -> None:
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


def test_a_species_without_tp_is_kept_and_reported(small_dataset: Path) -> None:
    lines = (small_dataset / "train_tp.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if ",1,1," not in line]
    assert len(kept) == len(lines) - 2
    (small_dataset / "train_tp.csv").write_text("".join(kept))
    dataset = load_dataset(small_dataset)
    assert dataset.n_species == 3
    assert dataset.species_without_tp() == ["owl"]


def test_test_recordings_follow_the_sample_submission(small_dataset: Path) -> None:
    (small_dataset / "sample_submission.csv").write_text("recording_id,s0,s1,s2\nt1,0,0,0\nt0,0,0,0\n")
    dataset = load_dataset(small_dataset)
    assert list(dataset.test) == ["t1", "t0"]
    assert dataset.test_labels is not None
    assert dataset.test_labels.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_spreadsheet_habits_are_read(small_dataset: Path) -> None:
    for name in ("train_tp.csv", "species.csv"):
        file = small_dataset / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load_dataset(small_dataset).species[2] == "frog"


def test_groups_keep_their_members(small_dataset: Path) -> None:
    (small_dataset / "groups.csv").write_text(
        "group,recording_id\n" + "".join(f"site {k // 2},a{k}\n" for k in range(6))
    )
    groups = load_dataset(small_dataset).groups
    assert (groups[::2] == groups[1::2]).all()
    assert len(np.unique(groups)) == 3


def test_lines_are_counted_with_the_blank_ones(small_dataset: Path) -> None:
    replace_text("train_tp.csv", "a1,1,", "\n\na1,9,")(small_dataset)
    with pytest.raises(DatasetError, match=r"train_tp\.csv line 5: species_id 9 is outside"):
        load_dataset(small_dataset)


def test_a_species_id_far_beyond_the_others_is_refused(small_dataset: Path) -> None:
    for file in small_dataset.glob("*.csv"):
        if file.name != "train_tp.csv":
            file.unlink()
    replace_text("train_tp.csv", "a1,1,", "a1,1000000,")(small_dataset)
    with pytest.raises(DatasetError, match=r"species_id 1000000 .* show 4 species; number"):
        load_dataset(small_dataset)


def test_a_box_that_begins_after_the_end_is_named(small_dataset: Path) -> None:
    replace_text("train_tp.csv", "a1,1,1,0.2,500.0,1.1", "a1,1,1,3.2,500.0,4.1")(small_dataset)
    dataset = load_dataset(small_dataset)
    duration = dict.fromkeys(dataset.train, 2.0)
    with pytest.raises(
        DatasetError, match=r"train_tp\.csv line 3: t_min 3\.2 is past the end of 'a1' \(2 s\)"
    ):
        check_boxes_begin_inside(dataset, duration)
    check_boxes_begin_inside(dataset, {**duration, "a1": 5.0})
