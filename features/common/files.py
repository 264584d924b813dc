"""Atomic file writing, validated file reading, and digests of settings and arrays."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from features.common.errors import UserError

_READING = threading.Lock()
"""NumPy parses headers with `ast`, which fails at random in Python 3.11 if two threads use it at the same
time (https://github.com/python/cpython/issues/106905)."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block ends without an error.

    The temporary file is hidden and is in the same folder as `path`. It has the same suffix, because some
    writers derive the file format from the suffix. Its name is always the same, so that the next run
    overwrites the temporary file of a run that was killed.

    Parameters
    ----------
    path : Path
        The file to write; missing parent folders are created.

    Raises
    ------
    UserError
        The file cannot be written. An existing file is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> with replacing(file) as temporary:
    ...     _ = temporary.write_text("complete")
    >>> file.read_text()
    'complete'
    """
    temporary = path.with_name(f".{path.stem}.new{path.suffix}")
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)  # it could be a symbolic link to a different file
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, last: str) -> Iterator[Path]:
    """Yield an empty temporary folder whose files replace those of `folder` if the block ends without error.

    The old file named `last` is removed first, and the new one is moved to `folder` last. If it exists, all
    files in `folder` therefore come from the same run. Old files that the block has not replaced are removed
    from `folder`; subfolders are kept.

    Parameters
    ----------
    folder : Path
        The folder to write to; it is created if it does not exist.
    last : str
        Name of the file that marks the folder as complete.

    Raises
    ------
    UserError
        The files cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _write_errors(folder):
            temporary.mkdir(parents=True)
            yield temporary
            folder.mkdir(exist_ok=True)
        with _write_errors(folder, "the folder is incomplete, run the command again"):
            (folder / last).unlink(missing_ok=True)
            files = sorted(temporary.iterdir(), key=lambda file: file.name == last)
            new = {file.name for file in files}
            for outdated in [file for file in folder.iterdir() if file.is_file() and file.name not in new]:
                outdated.unlink()
            for file in files:
                os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _write_errors(path: Path, state: str = "existing files are unchanged") -> Iterator[None]:
    """Raise UserError for an OSError in the block; its message names `path` and the `state` of its files."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); check disk space and permissions, or "
            f"choose another folder; {state}"
        ) from error


def validate_inside_folder(path: Path, folder: Path) -> None:
    """Raise UserError if a symbolic link in `path` leads out of `folder`."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}: links to a file outside {folder}; copy the file into the folder instead")


def read_arrays(file: Path, *names: str) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file.

    Pickled arrays are rejected.

    Parameters
    ----------
    file : Path
    *names : str
        Names of the arrays to read; the default is all arrays.

    Raises
    ------
    ValueError
        The file is missing or not a complete npz file, or an array is missing.
    """
    try:
        with _READING, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}
    except Exception as error:  # NumPy and zipfile raise many types, depending on where the file is damaged
        raise ValueError(f"{file.name} does not contain the expected arrays ({error})") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, with null for nan and infinity."""
    value = json.loads(json.dumps(value), parse_constant=lambda _: None)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def digest(*parts: Any) -> str:
    """Return 12 hexadecimal digits that identify the values of `parts`.

    Parameters
    ----------
    *parts : object
        Arrays are identified by shape, dtype and content, all other objects by their `repr`. The `repr` of a
        frozen dataclass of settings contains every setting.

    Examples
    --------
    >>> digest("a", 1) == digest("a", 1)
    True
    >>> digest(np.zeros(3)) == digest(np.zeros((3, 1)))
    False
    """
    state = hashlib.blake2b(digest_size=6)
    for part in parts:
        if isinstance(part, np.ndarray):
            state.update(f"{part.shape}{part.dtype}".encode())
            state.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            state.update(repr(part).encode())
        state.update(b"\0")
    return state.hexdigest()
