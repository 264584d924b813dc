"""Import into new and existing data sets: what is added, what stays, and what is rejected."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import soundfile

from features.annotations.audacity import write_audacity
from features.annotations.boxes import AnnotationError
from features.annotations.importing import find_label_files, import_labels
from features.annotations.raven import write_raven
from features.annotations.raven_sequence import write_raven_sequence
from features.common.errors import UserError
from features.data.audio import AudioError
from features.data.dataset import load_dataset
from pipelines.core.prediction_files import DECIMALS
from tests.features.annotations.conftest import WriteSeason

HEADER = "file,start,end,label,low,high,verified\n"
SITES = ("site1/a", "site2/a")


def write(folder: Path, **files: str) -> Path:
    """Write tables with the header `HEADER`, named by keyword, to a folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (folder / f"{name}.csv").write_text(HEADER + rows)
    return folder


def contents(root: Path) -> dict[str, bytes]:
    """Return the content of all files of a data set."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def boxes(root: Path, table: str = "train_tp.csv") -> list[list]:
    """Return recording, species, start and frequencies of the boxes of a table."""
    columns = ["recording_id", "species_id", "t_min", "f_min", "f_max"]
    return pd.read_csv(root / table)[columns].to_numpy().tolist()


FIRST = (
    "site1/a.wav,1,2,owl,500,900,yes\nsite2/a.wav,3,4,frog,2000,3000,yes\nsite2/a.wav,5,6,owl,500,900,no\n"
)


@pytest.fixture
def root(tmp_path: Path, season: WriteSeason) -> Path:
    """Return a data set with two recordings, two TP boxes and an FP box."""
    import_labels(season(*SITES), write(tmp_path / "first", all=FIRST), tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def recordings(tmp_path: Path, root: Path) -> Path:
    """Return the folder of the recordings of `root`."""
    return tmp_path / "season"


def test_new_data_set_refers_to_the_audio(root: Path) -> None:
    assert boxes(root) == [["site1/a", 1, 1.0, 500.0, 900.0], ["site2/a", 0, 3.0, 2000.0, 3000.0]]
    assert boxes(root, "train_fp.csv") == [["site2/a", 1, 5.0, 500.0, 900.0]]
    table = pd.read_csv(root / "recordings.csv", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == ["recording_id", "site", "start", "latitude", "longitude", "file"]
    assert table["recording_id"].tolist() == ["site1/a", "site2/a"]
    assert table["file"].tolist() == ["../season/site1/a.wav", "../season/site2/a.wav"]
    assert not (root / "train").exists()
    dataset = load_dataset(root)
    assert dataset.species == ("frog", "owl")
    assert [path.resolve() for path in dataset.train.values()] == [
        root.parent / "season" / "site1" / "a.wav",
        root.parent / "season" / "site2" / "a.wav",
    ]


def test_audio_is_copied_on_request(tmp_path: Path, season: WriteSeason) -> None:
    recordings = season(*SITES)
    for _ in range(2):
        import_labels(recordings, write(tmp_path / "first", all=FIRST), tmp_path / "data", copy=True)
        for name in SITES:
            copied = tmp_path / "data" / "train" / f"{name}.wav"
            assert copied.read_bytes() == (recordings / f"{name}.wav").read_bytes()
    assert not (tmp_path / "data" / "recordings.csv").exists()
    assert list(load_dataset(tmp_path / "data").train) == list(SITES)


def test_same_import_changes_no_byte(tmp_path: Path, root: Path, recordings: Path) -> None:
    before = contents(root)
    report = import_labels(recordings, tmp_path / "first", root)
    assert contents(root) == before
    assert report.formats[["files", "boxes", "tp", "fp", "duplicates"]].to_numpy().tolist() == [
        [1, 3, 0, 0, 3]
    ]
    assert (report.new_species, report.n_new_recordings) == ((), 0)


def test_import_adds_to_a_data_set(tmp_path: Path, root: Path, recordings: Path, season: WriteSeason) -> None:
    before = {name: text.decode() for name, text in contents(root).items()}
    rows = "site1/b.wav,1,2,bat,500,900,yes\nsite1/a.wav,1,2,owl,500,900,yes\nsite1/a.wav,7,8,owl,1,9,no\n"
    report = import_labels(season("site1/b"), write(tmp_path / "second", all=rows), root)
    for name, text in contents(root).items():
        assert text.decode().startswith(before[name]), name
    assert load_dataset(root).species == ("frog", "owl", "bat")
    assert boxes(root)[2:] == [["site1/b", 2, 1.0, 500.0, 900.0]]
    assert boxes(root, "train_fp.csv")[1:] == [["site1/a", 1, 7.0, 1.0, 9.0]]
    assert (report.new_species, report.n_new_recordings) == (("bat",), 1)
    counts = report.formats.iloc[0]
    assert counts.to_dict() == {
        **{"files": 1, "boxes": 3, "tp": 1, "fp": 1},
        **{"duplicates": 1, "not_reviewed": 0},
    }


def test_only_reviewed_boxes_are_imported(tmp_path: Path, season: WriteSeason) -> None:
    folder = write(tmp_path / "labels", all="a,1,2,owl,,,?\nmissing,1,2,owl,,,\na,3,4,owl,,,yes\n")
    report = import_labels(season("a"), folder, tmp_path / "data")
    assert len(boxes(tmp_path / "data")) == 1
    assert report.formats["not_reviewed"].tolist() == [2]


def test_data_set_of_unreviewed_detections_is_rejected(tmp_path: Path, season: WriteSeason) -> None:
    recordings = season("site1/a")
    labels = tmp_path / "predicted"
    box = {"species": "owl", "t_min": 1.0, "t_max": 2.0, "f_min": 5.0, "f_max": 9.0, "score": 0.9}
    found = pd.DataFrame([box])
    write_raven(labels / "raven" / "site1" / "a.Table.1.selections.txt", found)
    write_audacity(labels / "audacity" / "site1" / "a.txt", found)
    write_raven_sequence(
        labels / "detections.selections.txt", [(recordings / "site1" / "a.wav", 10.0, found)]
    )
    found.assign(recording_id="site1/a").to_csv(labels / "detections.csv", index=False)
    with pytest.raises(AnnotationError, match=r"no confirmed box \(0 rejected, 4 not reviewed\)"):
        import_labels(recordings, labels, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_unreviewed_detections_add_nothing(tmp_path: Path, root: Path, recordings: Path) -> None:
    before = contents(root)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "detections.csv").write_text(
        "recording_id,species,t_min,t_max,score\na,owl,1,2,0.9\n"
    )
    report = import_labels(recordings, tmp_path / "new", root)
    assert contents(root) == before
    assert report.formats["not_reviewed"].tolist() == [1]


def test_label_files_without_boxes_add_only_recordings(
    tmp_path: Path, root: Path, recordings: Path, season: WriteSeason
) -> None:
    before = contents(root)
    report = import_labels(season("site3/a"), write(tmp_path / "new", a=""), root)
    assert report.formats.to_numpy().tolist() == [[1, 0, 0, 0, 0, 0]]
    changed = {name for name, content in contents(root).items() if before.get(name) != content}
    assert changed == {"recordings.csv"}
    assert list(load_dataset(root).train) == ["site1/a", "site2/a", "site3/a"]


def test_unknown_band_is_that_of_the_species_or_the_full_range(tmp_path: Path, season: WriteSeason) -> None:
    rows = (
        "a,1,2,owl,500,900,yes\na,2,3,owl,600,1000,yes\na,3,4,owl,1000,3000,yes\na,4,5,owl,1,9000,no\n"
        "a,5,6,owl,,,yes\na,6,7,bat,,,yes\na,1,2,owl,,,yes\n"
    )
    report = import_labels(season("a"), write(tmp_path / "labels", all=rows), tmp_path / "data")
    assert boxes(tmp_path / "data")[3:] == [["a", 1, 5.0, 600.0, 1000.0], ["a", 0, 6.0, 0.0, 8000.0]]
    assert report.without_band == 2  # the last box is the first one, without its frequencies
    assert report.formats["duplicates"].tolist() == [1]
    before = contents(tmp_path / "data")
    import_labels(season("a"), tmp_path / "labels", tmp_path / "data")
    assert contents(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "site1/a,1,2,owl,500,900,no\n",
            r"all\.csv line 2: box of 'owl' in 'site1/a' \(1 to 2 s\) is rejected, "
            r"but confirmed in .*train_tp\.csv line 2",
        ),
        ("site2/a,5,6,owl,,,yes\n", r"is confirmed, but rejected in .*train_fp\.csv line 2"),
        (
            "site1/a,7,8,owl,,,yes\nsite1/a,7,8,owl,,,no\n",
            r"all\.csv line 3: .* but confirmed in .*all\.csv line 2",
        ),
        ("site1/a,10,11,owl,,,yes\n", r"all\.csv line 2: t_min 10 is past the end of 'site1/a' \(10 s\)"),
        ("site1/a,1,2,s0,,,yes\n", r"species 2 is named 's0', which stands for another species"),
        ("site1/a,1,2,site,,,yes\n", r"species 2 is named 'site', like a column of the scores of predict"),
    ],
)
def test_contradiction_is_rejected_and_nothing_is_written(
    tmp_path: Path, root: Path, recordings: Path, rows: str, message: str
) -> None:
    before = contents(root)
    labels = write(tmp_path / "new", all=rows + "site1/a,8,9,wolf,,,yes\n")
    with pytest.raises(AnnotationError, match=message):
        import_labels(recordings, labels, root)
    assert contents(root) == before


def test_other_audio_of_the_same_id_is_rejected(tmp_path: Path, root: Path) -> None:
    other = tmp_path / "other" / "site1" / "a.wav"
    other.parent.mkdir(parents=True)
    soundfile.write(other, np.zeros(16_000), 16_000)
    with pytest.raises(AnnotationError, match=r"recording 'site1/a' is a different file in .*data"):
        import_labels(tmp_path / "other", write(tmp_path / "new", all="a,0,1,owl,,,yes\n"), root)


def test_same_audio_under_another_id_is_rejected(tmp_path: Path, root: Path) -> None:
    with pytest.raises(AnnotationError, match=r"it is recording 'site1/a', here 'a'; give the same folder"):
        import_labels(
            tmp_path / "season" / "site1",
            write(tmp_path / "new", a="a,1,2,owl,,,yes\n"),
            root,
        )


def test_data_set_inside_the_recordings_is_not_imported(tmp_path: Path, season: WriteSeason) -> None:
    recordings = season("a")
    root = tmp_path / "season" / "data"
    labels = write(tmp_path / "season", a="a,1,2,owl,,,yes\n")
    import_labels(recordings, labels, root, copy=True)
    before = contents(root)
    report = import_labels(recordings, labels, root, copy=True)
    assert contents(root) == before
    assert report.formats["files"].sum() == 1


def test_recordings_and_labels_can_be_in_the_folder_of_the_data_set(
    tmp_path: Path, season: WriteSeason
) -> None:
    root = tmp_path / "season"
    report = import_labels(season("audio/a"), write(root / "labels", a="a,1,2,owl,,,yes\n"), root)
    assert report.n_new_recordings == 1
    assert pd.read_csv(root / "recordings.csv")["file"].tolist() == ["audio/a.wav"]
    assert len(load_dataset(root).tp) == 1


def test_rows_of_other_columns_stay(tmp_path: Path, season: WriteSeason) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "recordings.csv").write_text("recording_id,site,height\na,river,2\n")
    import_labels(season("a", "b"), write(tmp_path / "labels", a="a,1,2,owl,,,yes\n"), root)
    table = pd.read_csv(root / "recordings.csv", dtype=str, keep_default_na=False)
    assert table[["recording_id", "site", "height", "file"]].to_numpy().tolist() == [
        ["a", "river", "2", "../season/a.wav"],
        ["b", "", "", "../season/b.wav"],
    ]


def test_species_csv_numbers_new_species_but_keeps_existing_numbers(
    tmp_path: Path, root: Path, recordings: Path
) -> None:
    folder = write(tmp_path / "new", all="site1/a,8,9,wolf,,,yes\n")
    (folder / "species.csv").write_text("species_id,name\n0,owl\n1,frog\n")
    with pytest.raises(AnnotationError, match=r"species\.csv: missing species 'wolf' of the boxes"):
        import_labels(recordings, folder, root)
    (folder / "species.csv").write_text("species_id,name\n0,owl\n1,frog\n2,wolf\n")
    with pytest.raises(AnnotationError, match=r"species\.csv: species 0 is 'owl', but 'frog' in .*data"):
        import_labels(recordings, folder, root)
    (folder / "species.csv").write_text("species_id,name\n0,frog\n1,owl\n2,wolf\n3,bat\n")
    import_labels(recordings, folder, root)
    assert load_dataset(root).species == ("frog", "owl", "wolf", "bat")


def test_data_set_with_all_tables_is_extended_or_left_alone(
    tmp_path: Path, small_dataset: Path, season: WriteSeason
) -> None:
    before = contents(small_dataset)
    recordings = small_dataset / "train"
    more = season("b")
    shutil.copytree(recordings, more, dirs_exist_ok=True)

    def rejected(message: str, rows: str, audio: Path) -> None:
        with pytest.raises(UserError, match=message):
            import_labels(audio, write(tmp_path / "new", all=rows), small_dataset)
        assert contents(small_dataset) == before

    rejected(
        r"new species bat, but sample_submission\.csv, train_labels\.csv", "a0,0.1,1,bat,,,yes\n", recordings
    )
    rejected(r"a0', but the complete labels say that it is absent", "a0,0.1,1,owl,,,yes\n", recordings)
    rejected(r"small.groups\.csv: 1 recordings have no group \(first: 'b'\)", "b,0.1,1,owl,,,yes\n", more)
    with (small_dataset / "groups.csv").open("a") as groups:
        groups.write("b,q\n")
    before = contents(small_dataset)
    rejected(r"presence\.csv: no row for 1 recordings \(first: 'b'\)", "b,0.1,1,owl,,,yes\n", more)
    (tmp_path / "new" / "presence.csv").write_text("recording_id,owl,coqui\nb,1,0\na0,1,1\n")
    rejected(r"presence\.csv line 3: label of 'owl' in 'a0' differs from", "b,0.1,1,owl,,,yes\n", more)
    (tmp_path / "new" / "presence.csv").write_text("recording_id,owl,coqui\nb,2,0\n")
    rejected(r"presence\.csv line 2: owl '2' is not 0 or 1", "b,0.1,1,owl,,,yes\n", more)
    (tmp_path / "new" / "presence.csv").write_text("recording_id,owl,coqui\nb,1,0\n")
    import_labels(more, tmp_path / "new", small_dataset)
    dataset = load_dataset(small_dataset)
    assert dataset.train_labels is not None
    assert dataset.train_labels[list(dataset.train).index("b")].tolist() == [0, 1, 0]
    assert len(dataset.tp) == 7


def test_names_are_s0_s1_without_species_csv(tmp_path: Path, small_dataset: Path) -> None:
    for name in ("species.csv", "sample_submission.csv", "train_labels.csv", "test_labels.csv"):
        (small_dataset / name).unlink()
    recordings = small_dataset / "train"
    rows = "a0,0.1,1,s1,500,900,yes\na0,0.1,1,bat,500,900,yes\n"
    import_labels(recordings, write(tmp_path / "new", all=rows), small_dataset)
    assert load_dataset(small_dataset).species == ("s0", "s1", "s2", "bat")
    assert boxes(small_dataset)[6:] == [["a0", 1, 0.1, 500.0, 900.0], ["a0", 3, 0.1, 500.0, 900.0]]


def read(table: Path) -> list[list[str]]:
    """Return the rows of a table as text."""
    return pd.read_csv(table, dtype=str, keep_default_na=False).to_numpy().tolist()


SITE_TIMES = "site,recording_id,start,latitude,height\nridge,site1/a,2024-03-15 05:30,18.30,7\n,site2/a,,,\n"


@pytest.mark.parametrize("copy", [False, True])
def test_sites_times_and_groups_are_imported(tmp_path: Path, season: WriteSeason, copy: bool) -> None:
    recordings, labels, root = season(*SITES), write(tmp_path / "first", all=FIRST), tmp_path / "data"
    import_labels(recordings, labels, root, copy=copy)
    (recordings / "recordings.csv").write_text(SITE_TIMES)
    (recordings / "groups.csv").write_text("recording_id,group\nsite2/a,g\nsite1/a,g\n")
    for _ in range(2):
        report = import_labels(recordings, labels, root, copy=copy)
        files = ["", ""] if copy else [f"../season/{name}.wav" for name in SITES]
        rows = [["site1/a", "ridge", "2024-03-15 05:30", "18.30", "", files[0]]]
        if not copy:
            rows.append(["site2/a", "", "", "", "", files[1]])
        assert read(root / "recordings.csv") == rows
        assert read(root / "groups.csv") == [["site2/a", "g"], ["site1/a", "g"]]
        assert report.ignored == ()
    dataset = load_dataset(root)
    assert dataset.site_times["site1/a"][:3] == ("ridge", "2024-03-15T05:30:00", 18.3)
    assert (dataset.grouped_by, dataset.groups.tolist()) == ("groups.csv", [0, 0])
    before = contents(root)
    import_labels(recordings, labels, root, copy=copy)
    assert contents(root) == before


def test_sites_and_groups_of_the_data_set_stay(tmp_path: Path, root: Path, season: WriteSeason) -> None:
    recordings, labels = season("site3/a"), write(tmp_path / "new", all="")
    (recordings / "recordings.csv").write_text(SITE_TIMES)
    (recordings / "groups.csv").write_text("recording_id,group\nsite1/a,g\nsite2/a,h\nsite3/a,h\n")
    import_labels(recordings, labels, root)
    before = contents(root)
    (recordings / "recordings.csv").write_text(
        SITE_TIMES.replace("05:30", "05:30:00").replace("18.30", "18.3")
    )
    import_labels(recordings, labels, root)
    assert contents(root) == before

    def rejected(table: str, text: str, message: str) -> None:
        original = (recordings / table).read_text()
        (recordings / table).write_text(text)
        with pytest.raises(UserError, match=message):
            import_labels(recordings, labels, root)
        (recordings / table).write_text(original)
        assert contents(root) == before

    rejected(
        "recordings.csv",
        SITE_TIMES.replace("ridge", "river"),
        r"season.recordings\.csv line 2: site of 'site1/a' is 'river', but 'ridge' in .*data.recordings\.csv",
    )
    rejected(
        "recordings.csv", SITE_TIMES.replace("18.30", "north"), r"season.recordings\.csv line 2: latitude"
    )
    rejected(
        "groups.csv",
        "recording_id,group\nsite2/a,g\n",
        r"season.groups\.csv line 2: group of 'site2/a' is 'g', but 'h' in .*data.groups\.csv",
    )
    rejected("groups.csv", "recording_id,group\nsite2/a,\n", r"groups\.csv line 2: 'site2/a' has no group")
    (root / "groups.csv").unlink()
    before = contents(root)
    rejected(
        "groups.csv",
        "recording_id,group\nsite2/a,g\n",
        r"season.groups\.csv: 2 recordings have no group \(first: 'site1/a'\)",
    )


def test_row_of_no_recording_is_named(tmp_path: Path, season: WriteSeason) -> None:
    recordings = season("a")
    (recordings / "recordings.csv").write_text("recording_id,site\na,ridge\nb,river\n")
    with pytest.warns(UserWarning, match=r"recordings\.csv: 1 of 2 rows belong to no recording, such as 'b'"):
        import_labels(recordings, write(tmp_path / "labels", a="a,1,2,owl,,,yes\n"), tmp_path / "data")
    assert read(tmp_path / "data" / "recordings.csv") == [["a", "ridge", "", "", "", "../season/a.wav"]]


@pytest.mark.parametrize("copy", [False, True])
def test_reference_to_a_moved_recording_is_updated(
    tmp_path: Path, root: Path, recordings: Path, copy: bool
) -> None:
    before = contents(root)
    moved = recordings.rename(tmp_path / "archive")
    report = import_labels(moved, tmp_path / "first", root, copy=copy)
    assert (report.n_new_recordings, report.n_moved_recordings) == (0, 2)
    expected = before["recordings.csv"].replace(b"../season/", b"../archive/")
    assert contents(root) == before | {"recordings.csv": expected}
    assert all(path.exists() for path in load_dataset(root).train.values())
    assert import_labels(moved, tmp_path / "first", root, copy=copy).n_moved_recordings == 0


def test_links_out_of_the_folders_can_be_followed(tmp_path: Path, season: WriteSeason) -> None:
    recordings, labels, root = season("a"), tmp_path / "labels", tmp_path / "data"
    write(tmp_path / "elsewhere" / "deep", first="a,1,2,owl,,,yes\n")
    write(tmp_path, second="a,3,4,owl,,,yes\n")
    labels.mkdir()
    (labels / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"linked: links to .*elsewhere, outside the folder"):
        import_labels(recordings, labels, root)
    (labels / "second.csv").symlink_to(tmp_path / "second.csv")
    import_labels(recordings, labels, root, follow_links=True)
    assert [box[2] for box in boxes(root)] == [1.0, 3.0]
    (root / "train").mkdir()
    (root / "train" / "site").symlink_to(season("b", folder="disk"))
    (root / "species.csv").unlink()  # the names of the species then need the whole data set
    with pytest.raises(UserError, match=r"train.site: links to .*disk, outside the folder"):
        import_labels(recordings, write(tmp_path / "new", a="b,5,6,s0,,,yes\n"), root)
    (recordings / "site").symlink_to(tmp_path / "disk")
    import_labels(recordings, tmp_path / "new", root, follow_links=True)
    assert list(load_dataset(root, follow_links=True).train) == ["site/b", "a"]
    assert boxes(root)[2][:3] == ["site/b", 0, 5.0]


def test_labels_can_be_one_file(tmp_path: Path, season: WriteSeason) -> None:
    labels = write(tmp_path / "labels" / "site2", a=",1,2,owl,,,yes\n", b="nonsense\n")
    import_labels(season("a", "b"), labels / "a.csv", tmp_path / "data")
    assert [box[0] for box in boxes(tmp_path / "data")] == ["a"]
    with pytest.raises(AnnotationError, match=r"nowhere: no such file or folder; give"):
        import_labels(tmp_path / "season", tmp_path / "nowhere", tmp_path / "data")


@pytest.mark.parametrize(("start", "low"), [(1 / 3, 1234.5678), (7.0004999, 1235.46), (5.0005, 1234.46)])
def test_rounded_box_is_the_same_box(tmp_path: Path, season: WriteSeason, start: float, low: float) -> None:
    box = {"species": "owl", "t_min": start, "t_max": start + 2 / 3, "f_min": low, "f_max": low + 1000 / 3}
    exact = pd.DataFrame([box | {"verified": "yes"}])
    labels = tmp_path / "labels"
    write_raven(labels / "a.Table.1.selections.txt", exact)
    rounded = exact.assign(recording_id="a", score=0.9).round(DECIMALS)
    rounded.to_csv(labels / "detections.csv", index=False)
    report = import_labels(season("a"), labels, tmp_path / "data")
    assert len(boxes(tmp_path / "data")) == 1
    assert report.formats["duplicates"].sum() == 1
    rounded.assign(verified="no").to_csv(labels / "detections.csv", index=False)
    with pytest.raises(AnnotationError, match=r"is (confirmed|rejected), but (confirmed|rejected) in"):
        import_labels(tmp_path / "season", labels, tmp_path / "other")


def test_boxes_are_compared_to_1_ms_and_1_hz(tmp_path: Path, season: WriteSeason) -> None:
    different = "a,1,2,owl,500,900,yes\na,1.002,2,owl,500,900,yes\na,1,2,owl,500,902,yes\n"
    same = "a,1.0004,2,owl,500.3,899.8,yes\n"
    report = import_labels(season("a"), write(tmp_path / "labels", all=different + same), tmp_path / "data")
    assert len(boxes(tmp_path / "data")) == 3
    assert report.formats["duplicates"].tolist() == [1]


@pytest.mark.parametrize(("copy", "is_new"), [(False, False), (True, True)])
def test_failure_between_files_leaves_a_data_set_that_the_next_import_completes(
    tmp_path: Path, season: WriteSeason, copy: bool, is_new: bool
) -> None:
    recordings = season("a", "b", "c")
    (recordings / "recordings.csv").write_text("recording_id,site\na,ridge\nb,river\n")
    (recordings / "groups.csv").write_text("recording_id,group\na,1\nb,1\nc,2\n")
    first = write(tmp_path / "first", a="a,1,2,owl,500,900,yes\n")
    rows = "b,1,2,bat,,,yes\nc,1,2,bat,,,no\na,5,6,bat,1,9,yes\n"
    second = write(tmp_path / "second", all=rows)
    (first / "presence.csv").write_text("recording_id,owl\na,1\n")
    (second / "presence.csv").write_text("recording_id,owl,bat\na,1,1\nb,0,1\nc,0,0\n")
    if not is_new:  # complete labels and new species exclude each other in an existing data set
        (first / "presence.csv").unlink()
        (second / "presence.csv").unlink()

    def start(root: Path) -> None:
        if not is_new:
            import_labels(season("a", folder="early"), first, root, copy=copy)

    start(tmp_path / "whole")
    import_labels(recordings, second, tmp_path / "whole", copy=copy)
    expected = contents(tmp_path / "whole")
    replace = os.replace
    for n_moves in range(20):
        root = tmp_path / f"killed{n_moves}"
        start(root)
        moves = iter(range(n_moves))

        def fail(*paths: Path, moves: object = moves) -> None:
            if next(moves, None) is None:  # type: ignore[call-overload]
                raise OSError("no space left")
            replace(*paths)

        with mock.patch("os.replace", fail), suppress(UserError):
            import_labels(recordings, second, root, copy=copy)
            break
        if (root / "train_tp.csv").exists():
            assert not is_new
            load_dataset(root)
        import_labels(recordings, second, root, copy=copy)
        assert contents(root) == expected
    assert n_moves >= 5
    assert contents(root) == expected


def test_label_files_are_found_and_other_files_are_named(tmp_path: Path) -> None:
    for name in ("b/x.TXT", "a.csv", "c.tsv", "README.txt", "CONFIG.TXT", "SM4_Summary.txt", "presence.csv",
                 "data/train_tp.csv", ".hidden/a.csv", "a.wav"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files, ignored = find_label_files(tmp_path, tmp_path / "data")
    assert [path.relative_to(tmp_path).as_posix() for path in files] == ["a.csv", "b/x.TXT", "c.tsv"]
    assert [path.name for path in ignored] == ["CONFIG.TXT", "README.txt", "SM4_Summary.txt", "presence.csv"]
    (tmp_path / "labels.xlsx").touch()
    with pytest.raises(AnnotationError, match=r"labels\.xlsx: spreadsheets are not read; save it as CSV"):
        find_label_files(tmp_path, tmp_path / "data")


def test_folder_without_labels_is_rejected(tmp_path: Path, season: WriteSeason) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match=r"empty: no label files found"):
        import_labels(season("a"), tmp_path / "empty", tmp_path / "data")


def test_link_out_of_the_folder_is_rejected(tmp_path: Path, season: WriteSeason) -> None:
    write(tmp_path, outside="a,1,2,owl,,,yes\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(UserError, match="links to a file outside"):
        import_labels(season("a"), tmp_path / "labels", tmp_path / "data")


def test_unreadable_recording_only_matters_for_boxes_without_frequencies(
    tmp_path: Path, season: WriteSeason
) -> None:
    recordings = season("a")
    (recordings / "a.wav").write_bytes(b"damaged")
    with pytest.raises(AudioError, match=r"a\.wav: cannot be decoded"):
        import_labels(recordings, write(tmp_path / "labels", a="a,1,2,owl,,,yes\n"), tmp_path / "data")
    import_labels(recordings, write(tmp_path / "labels", a="a,1,2,owl,5,9,yes\n"), tmp_path / "data")
    assert len(load_dataset(tmp_path / "data").tp) == 1
