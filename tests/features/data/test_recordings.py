"""Recordings are found in nested folders, and have their path as id."""

import os
from pathlib import Path

import pytest

from features.common.errors import UserError
from features.data.recordings import find_recordings
from features.data.tables import DatasetError


def touch(folder: Path, *names: str) -> Path:
    """Create empty files in a folder, and return it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_ids_are_paths_without_suffix_sorted_by_path(tmp_path: Path) -> None:
    names = ("b.flac", "b-1.wav", "b/2/x.y.WAV", "b/10/x.Mp3", "a.ogg")
    folder = touch(tmp_path, *names, "notes.txt", "b/labels.csv")
    found = find_recordings(folder)
    assert list(found) == ["a", "b/10/x", "b/2/x.y", "b-1", "b"]
    assert found["b/2/x.y"] == folder / "b/2/x.y.WAV"


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    assert list(find_recordings(touch(tmp_path, ".a.wav", "._b.wav", ".trash/c.wav", "d.wav"))) == ["d"]


def test_folder_that_does_not_exist_has_no_recordings(tmp_path: Path) -> None:
    assert find_recordings(tmp_path / "nowhere") == {}


def test_equal_names_in_two_folders_are_two_recordings_but_in_one_folder_an_error(tmp_path: Path) -> None:
    assert list(find_recordings(touch(tmp_path, "x/a.wav", "y/a.wav"))) == ["x/a", "y/a"]
    with pytest.raises(DatasetError, match=r"a\.wav: duplicate recording id 'x/a' \(also a\.flac\)"):
        find_recordings(touch(tmp_path, "x/a.flac"))


def test_formats_that_cannot_be_read_are_named_together_with_those_that_can(tmp_path: Path) -> None:
    folder = touch(tmp_path, "x/a.m4a", "x/b.M4A", "c.wma", "d.wav")
    message = r"ignored 2 \.m4a, 1 \.wma files; \.flac, \.wav, \.ogg and \.mp3 files can be read"
    with pytest.warns(UserWarning, match=message):
        assert list(find_recordings(folder)) == ["d"]


@pytest.mark.parametrize("target", ["elsewhere/a.wav", "elsewhere"])
def test_link_that_leaves_the_folder_is_rejected_unless_links_are_followed(
    tmp_path: Path, target: str
) -> None:
    touch(tmp_path, "elsewhere/a.wav")
    folder = touch(tmp_path / "season", "b.wav")
    link = folder / ("link.wav" if target.endswith(".wav") else "link")
    link.symlink_to(tmp_path / target)
    with pytest.raises(
        UserError, match=r"link.*: links to .*, outside the folder; .* or give --follow-links"
    ):
        find_recordings(folder)
    expected = ["b", "link"] if target.endswith(".wav") else ["b", "link/a"]
    assert list(find_recordings(folder, follow_links=True)) == expected


def test_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    Path(path).touch()
    with pytest.raises(UserError, match=r"caf\\udce9\.wav': the name is not valid UTF-8; rename the file"):
        find_recordings(tmp_path)


@pytest.mark.parametrize(
    ("name", "problem"), [("a\nb.wav", "a control character"), ("a\\b.wav", "a backslash")]
)
def test_name_that_cannot_be_written_to_a_table_is_an_error(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"b.wav.* the name has {problem}; rename the file"):
        find_recordings(tmp_path)


def test_link_inside_the_folder_does_not_repeat_recordings(tmp_path: Path) -> None:
    folder = touch(tmp_path / "season", "2024/a.wav")
    (folder / "latest").symlink_to(folder / "2024")
    (folder / "latest.wav").symlink_to(folder / "2024" / "a.wav")
    assert list(find_recordings(folder)) == ["2024/a"]
    assert list(find_recordings(folder, follow_links=True)) == ["2024/a"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder = touch(tmp_path / "season", "a.wav")
    touch(tmp_path / "elsewhere", "b.wav")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
    assert list(find_recordings(folder, follow_links=True)) == ["a", "out/b"]


def test_folder_of_recordings_can_itself_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "x/a.wav")
    (tmp_path / "season").symlink_to(tmp_path / "disk")
    assert list(find_recordings(tmp_path / "season")) == ["x/a"]


def test_link_to_itself_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    for name in ("loop", "loop.wav"):
        (tmp_path / name).symlink_to(tmp_path / name)
    assert list(find_recordings(tmp_path)) == ["a"]
