import gc
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from features.common import files
from features.common.errors import UserError
from features.common.files import (
    digest,
    read_arrays,
    read_json,
    replacing,
    replacing_folder,
    validate_inside_folder,
    write_json,
)
from features.common.parallel import in_parallel


def test_json_has_null_for_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1.5, float("nan")], "b": None})
    text = (tmp_path / "x.json").read_text()
    assert text.split() == ["{", '"a":', "[", "1.5,", "null", "],", '"b":', "null", "}"]
    assert json.loads(text) == {"a": [1.5, None], "b": None}


def test_interrupted_writing_leaves_the_file_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("before")

    def write_and_interrupt() -> None:
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_interrupt()
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_temporary_file_has_the_same_suffix_and_is_in_the_same_folder(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.npz"
    with replacing(file) as temporary:
        assert temporary.suffix == ".npz"
        assert temporary.parent == file.parent
        temporary.write_text("complete")
    assert [path.name for path in file.parent.iterdir()] == ["x.npz"]


def test_unwritable_file_raises_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(UserError, match=r"x\.csv: cannot be written \(.*\); check disk space and permissions"),
        replacing(tmp_path / "file" / "x.csv"),
    ):
        pass


def test_interrupted_writing_of_a_folder_leaves_it_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with replacing_folder(folder) as temporary:
        (temporary / "done.txt").write_text("1")

    def write_and_interrupt() -> None:
        with replacing_folder(folder) as temporary:
            (temporary / "done.txt").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_interrupt()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (folder / "done.txt").read_text() == "1"


def test_files_of_a_folder_are_replaced_together(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for names in (("done.txt", "old.txt"), ("done.txt", "new.txt")):
        with replacing_folder(folder) as temporary:
            for name in names:
                (temporary / name).write_text(names[1])
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "done.txt": "new.txt",
        "new.txt": "new.txt",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_folder_is_replaced_with_or_without_an_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    folder = tmp_path / "run"
    (folder / "kept").mkdir(parents=True)
    (folder / "old.txt").touch()
    with replacing_folder(folder) as temporary:
        (temporary / "new.txt").touch()
    assert sorted(path.name for path in folder.iterdir()) == ["kept", "new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_folder_that_a_killed_command_has_moved_away_is_moved_back(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".run.old" / "old.txt").touch()
    with suppress(KeyboardInterrupt), replacing_folder(folder):
        raise KeyboardInterrupt
    assert [path.name for path in folder.iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with replacing_folder(tmp_path / "run") as temporary:
        (temporary / "new.txt").touch()
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "elsewhere" / "new.txt").exists()


def test_json_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    file.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json is nested too deeply"):
        read_json(file)
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 5)
    with pytest.raises(ValueError, match=r"config\.json has 100000 bytes, the limit is 5"):
        read_json(file)


def test_link_out_of_the_folder_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text("")
    (folder / "own.csv").write_text("")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "inside.csv").symlink_to(folder / "own.csv")
    validate_inside_folder(folder / "own.csv", folder)
    validate_inside_folder(folder / "inside.csv", folder)
    with pytest.raises(UserError, match=r"link\.csv: links to a file outside .*data; copy the file"):
        validate_inside_folder(folder / "link.csv", folder)


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.zeros(2))
    assert set(read_arrays(tmp_path / "x.npz")) == {"a", "b"}
    assert read_arrays(tmp_path / "x.npz", "a")["a"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"x\.npz does not contain the expected arrays"):
        read_arrays(tmp_path / "x.npz", "c")


def test_compressed_arrays_are_rejected(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6))
    with pytest.raises(ValueError, match=r"x\.npz does not contain the expected arrays .*is compressed"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("read", [read_json, read_arrays])
def test_pipe_is_rejected_without_waiting(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ValueError, match="not a regular file"):
        read(tmp_path / "x")


def test_threads_can_read_at_the_same_time(tmp_path: Path) -> None:
    """Other threads run during each garbage collection, which is frequent here."""
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.zeros((2, 2)), c=np.zeros(2))
    threshold = gc.get_threshold()

    def yield_to_other_threads(*_: object) -> None:
        time.sleep(0)

    gc.callbacks.append(yield_to_other_threads)
    gc.set_threshold(20)
    try:
        arguments = [(tmp_path / "x.npz",)] * 800
        assert all(len(arrays) == 3 for arrays in in_parallel(read_arrays, arguments, n_jobs=4))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(yield_to_other_threads)


def test_pickled_array_is_rejected(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="does not contain the expected arrays"):
        read_arrays(tmp_path / "x.npz", "a")


def test_digest_depends_on_value_type_and_shape() -> None:
    values = np.arange(6.0)
    different = [values, values + 1, values.reshape(2, 3), values.astype(np.float32), "0.0", 0.0]
    assert len({digest(part) for part in different}) == len(different)
    assert digest(values) == digest(values.copy())
    assert digest(values.reshape(2, 3)) == digest(np.asfortranarray(values.reshape(2, 3)))
    assert digest("a", "b") != digest("ab")
