from pathlib import Path

import pandas as pd
import pytest

from features.annotations.boxes import AnnotationError
from features.annotations.matching import match_recordings, name_of_labels

SITES = {name: Path(f"/season/{name}.WAV") for name in ("site1/0500", "site2/0500", "site1/x/0600", "0700")}
FOLDER = Path("/labels")


def labels(*rows: tuple[str, str]) -> pd.DataFrame:
    """Return boxes of label files: name of the file, and text that identifies the audio."""
    table = pd.DataFrame(rows, columns=["file", "recording"]).assign(line=range(2, len(rows) + 2))
    return table.assign(file=[str(FOLDER / name) for name in table["file"]])


@pytest.mark.parametrize(
    ("file", "text", "recording_id"),
    [
        ("all.txt", "site2/0500", "site2/0500"),
        ("all.txt", "D:\\AudioMoth\\site2\\0500.WAV", "site2/0500"),
        ("all.txt", "/mnt/season/site1/0500.flac", "site1/0500"),
        ("all.txt", "elsewhere/0600.wav", "site1/x/0600"),
        ("all.txt", "0700.wav", "0700"),
        ("site2/all.txt", "0500.wav", "site2/0500"),
        ("ann/site2/0500.WAV.Table.1.selections.txt", "", "site2/0500"),
        ("site1/0500.txt", "0500.WAV", "site1/0500"),
        ("0600.BirdNET.results.csv", "", "site1/x/0600"),
    ],
)
def test_recording_is_found(file: str, text: str, recording_id: str) -> None:
    matched = match_recordings(labels((file, text)), SITES, FOLDER)
    assert matched["recording_id"].tolist() == [recording_id]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "all.txt",
            "0500.WAV",
            r"all\.txt line 2: '0500\.WAV' can be any of 2 recordings \(site1/0500, site2/0500\)",
        ),
        ("0500.txt", "", r"0500\.txt line 2: '0500' can be any of 2 recordings"),
        ("all.txt", "site3/0500", r"'site3/0500' can be any of 2 recordings"),
        (
            "all.txt",
            "site1/0800.wav",
            r"all\.txt line 2: recording 'site1/0800\.wav' has no audio file; add the file",
        ),
        ("0800.txt", "", r"recording '0800' has no audio file"),
        ("all.txt", "site1/500.wav", r"has no audio file"),
    ],
)
def test_unknown_or_ambiguous_recording_is_rejected(file: str, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        match_recordings(labels((file, text)), SITES, FOLDER)


def test_recording_id_fits_only_its_recording() -> None:
    recordings = {"0500": Path("/season/0500.WAV"), "site1/0500": Path("/season/site1/0500.WAV")}
    table = labels(("all.csv", "0500"), ("all.csv", "site1/0500"), ("0500.txt", ""))
    matched = match_recordings(table, recordings, FOLDER)
    assert matched["recording_id"].tolist() == ["0500", "site1/0500", "0500"]
    with pytest.raises(AnnotationError, match="can be any of 2 recordings"):
        match_recordings(labels(("all.csv", "0500.WAV")), recordings, FOLDER)


def test_labels_of_two_sites_are_not_given_to_one() -> None:
    one_site = {"0500": Path("/season/site1/0500.WAV")}
    both = labels(("all.txt", "site1/0500.WAV"), ("all.txt", "site2/0500.WAV"))
    message = r"line 3: 'site2/0500\.WAV' is in the folder 'site2', but .* line 2 states the folder 'site1'"
    with pytest.raises(AnnotationError, match=message):
        match_recordings(both, one_site, FOLDER)


def test_other_folder_is_reported() -> None:
    matched = match_recordings(labels(("all.txt", "SD7/0600.WAV"), ("all.txt", "site1/0500")), SITES, FOLDER)
    assert matched[["folder", "other_folder"]].to_numpy().tolist() == [["x", "SD7"], ["site1", ""]]


@pytest.mark.parametrize(
    "name",
    [
        *("a.WAV.Table.1.selections.txt", "a.Table.12.selections.txt", "a.selections.txt", "a.txt", "a.csv"),
        *("a.wav.txt", "a.BirdNET.selection.table.txt", "a.BirdNET.results.r.csv", "a.BirdNET.results.csv"),
    ],
)
def test_suffixes_of_label_files_are_removed(name: str) -> None:
    assert name_of_labels(Path("site1") / name) == "site1/a"


def test_other_dots_in_names_are_kept() -> None:
    assert name_of_labels(Path("S4A.2024-01-01.Table.1.selections.txt")) == "S4A.2024-01-01"
