"""Atomic file writing, validated file reading, and digests of settings and arrays."""

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from features.common.errors import UserError

MAX_JSON_BYTES = 1 << 26
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
UNFINISHED = re.compile(r"\..*\.new-[0-9a-f]{8}(\.[^.]*)?$", re.DOTALL)
MAX_NAME = 255  # bytes in the name of a file, on most file systems

_READING = threading.Lock()
"""NumPy parses headers with `ast`, which fails at random in Python 3.11 if two threads use it at the same
time (https://github.com/python/cpython/issues/106905)."""


def real_path(path: Path) -> Path:
    """Return the absolute path without symbolic links; a link to itself stays as it is.

    `Path.resolve` raises RuntimeError for a link to itself before Python 3.13.
    """
    return Path(os.path.realpath(path))


def validate_regular_file(path: Path) -> None:
    """Raise OSError unless a path is a regular file. Opening a named pipe would wait for ever.

    Raises
    ------
    OSError
        The path does not exist, or is a folder, a pipe or a device.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def validate_name(path: Path, *, remedy: str) -> None:
    """Raise UserError if a path cannot be written to a table: it is not UTF-8, or has control characters."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{str(path)!a}: the name is not valid UTF-8; {remedy}") from error
    if CONTROL.search(str(path)):
        raise UserError(f"{str(path)!a}: the name has a control character; {remedy}")


def validate_name_lengths(files: Iterable[str]) -> None:
    """Raise UserError if the name of a file to write is too long for most file systems."""
    for file in files:
        name = file.rsplit("/", 1)[-1]
        if len(os.fsencode(name)) > MAX_NAME:
            raise UserError(f"{name}: the name of this file would be too long; shorten that of the recording")


@contextmanager
def replacing(path: Path, *, unique: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block ends without an error.

    The temporary file is hidden and is in the same folder as `path`. It has the same suffix, because some
    writers derive the file format from the suffix. Its name is always the same unless it has to be unique,
    so that the next run overwrites the temporary file of a run that was killed. If that name would be too
    long for a file system, it has a digest in the place of the stem.

    Parameters
    ----------
    path : Path
        The file to write; missing parent folders are created.
    unique : bool
        Whether the name of the temporary file is unique, because another process may write the same content
        to `path` at the same time. `remove_unfinished` removes such files of processes that were killed.

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
    mark = f"new-{secrets.token_hex(4)}" if unique else "new"
    temporary = path.with_name(f".{path.stem}.{mark}{path.suffix}")
    if len(os.fsencode(temporary.name)) > MAX_NAME:
        temporary = path.with_name(f".{digest(path.name)}.{mark}{path.suffix[-9:]}")
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)  # it could be a symbolic link to a different file
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files with unique names that killed processes have left below a folder."""
    for path in folder.rglob(".*"):
        if UNFINISHED.match(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `folder` if the block ends without an error.

    Linux and macOS exchange the folders in one step, so a reader finds the old folder or the new one, and
    both are complete. Where this is not possible (Windows, some network file systems), the old folder is
    moved away first. If the command is killed at this moment, the next call moves it back. Old files are
    removed, but old subfolders are kept.

    Parameters
    ----------
    folder : Path
        The folder to replace; it is created if it does not exist.

    Raises
    ------
    UserError
        The folder cannot be written. An existing folder is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> for name in ("a.txt", "b.txt"):
    ...     with replacing_folder(folder) as temporary:
    ...         (temporary / name).touch()
    >>> [file.name for file in folder.iterdir()]
    ['b.txt']
    """
    folder = real_path(folder)  # the target of a link is replaced, not the link
    temporary, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("new", "old"))
    with write_errors(folder):
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        for stale in (temporary, old):
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if not folder.exists():
                os.rename(temporary, folder)
                return
            shutil.copymode(folder, temporary)
            if not _exchange(temporary, folder):
                os.rename(folder, old)
                os.rename(temporary, folder)
                os.rename(old, temporary)
            for kept in [path for path in temporary.iterdir() if path.is_dir() and not path.is_symlink()]:
                if not (folder / kept.name).exists():
                    os.rename(kept, folder / kept.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step, and return whether the system can."""
    if os.name != "posix":
        return False
    libc, paths = ctypes.CDLL(None), (os.fsencode(first), os.fsencode(second))
    if hasattr(libc, "renameat2"):  # Linux; -100 is the working directory, 2 is RENAME_EXCHANGE
        return bool(libc.renameat2(-100, paths[0], -100, paths[1], 2) == 0)
    if hasattr(libc, "renamex_np"):  # macOS; 2 is RENAME_SWAP
        return bool(libc.renamex_np(*paths, 2) == 0)
    return False


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Raise UserError for an OSError in the block; its message names `path`."""
    try:
        yield
    except OSError as error:
        remedy = "check disk space and permissions, or choose another folder"
        if error.errno == errno.ENAMETOOLONG:
            remedy = "give the file, the recording that it is named after, or the folder a shorter name"
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); {remedy}; existing files are unchanged"
        ) from error


def validate_inside_folder(path: Path, folder: Path) -> None:
    """Raise UserError if a symbolic link in `path` leads out of `folder`."""
    if not real_path(path).is_relative_to(real_path(folder)):
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
    with _arrays_of(file) as stored, _READING:
        return {name: stored[name] for name in names or stored}


def read_each(file: Path, names: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield arrays of an npz file one after the other; errors as in `read_arrays`."""
    with _arrays_of(file) as stored:
        for name in names:
            with _READING:
                array = stored[name]
            yield array


@contextmanager
def _arrays_of(file: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the arrays of an npz file, which are read when they are used."""
    try:
        validate_regular_file(file)
        with np.load(file, allow_pickle=False) as stored:
            validate_stored(stored.zip)
            yield stored
    except Exception as error:  # NumPy and zipfile raise many types, depending on where the file is damaged
        raise ValueError(f"{file.name} does not contain the expected arrays ({error})") from error


def write_arrays(file: Path, arrays: Iterable[tuple[str, ArrayLike]]) -> None:
    """Write named arrays to an npz file, one after the other; `numpy.savez` needs all of them at once."""
    with zipfile.ZipFile(file, "w") as parts:
        for name, array in arrays:
            with parts.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.asanyarray(array))


def validate_stored(parts: zipfile.ZipFile) -> None:
    """Raise ValueError if a part of a ZIP file is compressed. This software never compresses.

    Three gigabytes of zeros need three megabytes in a compressed file.
    """
    for part in parts.infolist():
        if part.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{part.filename} is compressed")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises
    ------
    ValueError
        The file is missing, larger than `MAX_JSON_BYTES`, or not valid JSON.
    """
    try:
        validate_regular_file(path)
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise ValueError(f"{path.name} has {size} bytes, the limit is {MAX_JSON_BYTES}")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, with null for nan and infinity."""
    value = json.loads(json.dumps(value), parse_constant=lambda _: None)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def sha256(file: Path) -> str:
    """Return the SHA-256 of the content of a file, as 64 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


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
