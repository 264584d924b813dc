"""Files of an output folder are replaced together, and files of other people are kept."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from features.common.errors import UserError
from features.common.output_folder import LIST, OutputFolder

COMMAND = "test"


def write(folder: Path, files: Mapping[str, str], *, complete: bool = True) -> None:
    with OutputFolder(folder, COMMAND).replacing(complete=complete) as staged:
        for name, text in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != LIST)
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "out", {"a.txt": "1", "b/c.txt": "1", "b/d.txt": "1"})
    return tmp_path / "out"


def test_files_of_earlier_calls_are_replaced_or_removed(folder: Path) -> None:
    (folder / "mine.txt").write_text("notes")
    write(folder, {"a.txt": "2"}, complete=False)
    assert contents(folder) == {"a.txt": "2", "b/c.txt": "1", "b/d.txt": "1", "mine.txt": "notes"}
    write(folder, {"a.txt": "3"})
    assert contents(folder) == {"a.txt": "3", "mine.txt": "notes"}
    assert not (folder / "b").exists()


def test_changed_file_is_an_error(folder: Path) -> None:
    (folder / "b" / "c.txt").write_text("reviewed")
    with pytest.raises(UserError, match=r"c\.txt: changed since it was written.* move it to another folder"):
        write(folder, {"a.txt": "2"})
    assert contents(folder) == {"a.txt": "1", "b/c.txt": "reviewed", "b/d.txt": "1"}
    (folder / "b" / "c.txt").unlink()
    write(folder, {"a.txt": "2"})
    assert contents(folder) == {"a.txt": "2"}


def test_error_in_the_block_changes_nothing(folder: Path) -> None:
    before = contents(folder)
    with suppress(KeyError), OutputFolder(folder, COMMAND).replacing(complete=True) as staged:
        (staged / "a.txt").write_text("2")
        raise KeyError
    assert contents(folder) == before


def test_folder_is_not_created_if_there_is_an_error(tmp_path: Path) -> None:
    with suppress(KeyError), OutputFolder(tmp_path / "new", COMMAND).replacing(complete=True):
        raise KeyError
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("n_moves", range(4))
def test_call_after_a_kill_replaces_all_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_moves: int
) -> None:
    """The list of files is replaced first, then three files."""
    from features.common import output_folder

    replace, moved = output_folder.os.replace, []

    def replace_some(source: Path, target: Path) -> None:
        if len(moved) == n_moves:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(output_folder.os, "replace", replace_some)
        with pytest.raises(KeyboardInterrupt):
            write(folder, {"a.txt": "2", "b/c.txt": "2", "e.txt": "2"})
    assert len(moved) == n_moves
    write(folder, {"a.txt": "3"})
    assert contents(folder) == {"a.txt": "3"}


@pytest.mark.parametrize(
    "files",
    [
        {"../mine.txt": []},
        {"/mine.txt": []},
        {"a.txt": "x"},
        {"": []},
        {"a\0": []},
        {"\ud800": []},
        {"a" * 300: []},
    ],
)
def test_list_that_is_not_valid_is_an_error(folder: Path, files: object) -> None:
    (folder / LIST).write_text(json.dumps({"command": COMMAND, "files": files}))
    with pytest.raises(UserError, match=r"\.written\.json: is not valid \(.*\); move your files"):
        OutputFolder(folder, COMMAND)


@pytest.mark.parametrize("text", ["", "[1]", "{}", "{" * 100_000])
def test_list_that_is_no_list_is_an_error(folder: Path, text: str) -> None:
    (folder / LIST).write_text(text)
    with pytest.raises(UserError, match=r"\.written\.json: is not valid \(.*\); move your files"):
        OutputFolder(folder, COMMAND)


def test_files_of_another_command_are_not_replaced(folder: Path) -> None:
    with pytest.raises(UserError, match="out: contains files of 'test'; give another folder with --out"):
        OutputFolder(folder, "other")


@pytest.mark.parametrize("is_folder", [False, True])
def test_file_that_the_command_did_not_write_is_not_replaced(folder: Path, is_folder: bool) -> None:
    before = contents(folder)
    (folder / "e.txt").mkdir() if is_folder else (folder / "e.txt").write_text("mine")
    with pytest.raises(UserError, match=r"e\.txt: exists, but this command did not write it; move it"):
        write(folder, {"a.txt": "2", "e.txt": "2"})
    (folder / "e.txt").rmdir() if is_folder else (folder / "e.txt").unlink()
    assert contents(folder) == before


def test_file_that_is_changed_while_the_command_runs_is_not_replaced(folder: Path) -> None:
    output = OutputFolder(folder, COMMAND)
    (folder / "a.txt").write_text("reviewed")
    with pytest.raises(UserError, match="changed since it was written"), output.replacing(complete=True):
        pass
    assert (folder / "a.txt").read_text() == "reviewed"


def test_error_names_the_output_folder(folder: Path) -> None:
    with (
        pytest.raises(UserError, match=r"out/a\.txt: damaged"),
        OutputFolder(folder, COMMAND).replacing(complete=True) as staged,
    ):
        raise UserError(f"{staged / 'a.txt'}: damaged")


def test_file_is_not_written_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="link: links to a file outside"):
        write(folder, {"link/x.txt": "1"})
    assert not list((tmp_path / "elsewhere").iterdir())
