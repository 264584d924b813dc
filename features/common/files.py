"""Whole files or none: written under a temporary name, then moved into place."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from features.common.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends well.

    The temporary name is hidden, keeps the suffix, because several writers choose a format by it, and is
    always the same, so that what a killed run leaves is overwritten by the next.

    Raises
    ------
    UserError
        The disk is full, the folder read-only or no folder. `path` is then as it was.
    """
    temporary = path.with_name(f".{path.stem}.new{path.suffix}")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)  # what lies there might be a link to elsewhere
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_all(folder: Path, last: str) -> Iterator[Path]:
    """Yield an empty folder whose files take the place of those in `folder` when the block ends well.

    The file named `last` is taken away first and comes back last, so a folder that has it holds files of
    one run. Other files of `folder` stay.

    Raises
    ------
    UserError
        As `replacing`.
    """
    temporary = folder.with_name(f".{folder.name}.new")
    with _writing(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            folder.mkdir(exist_ok=True)
            (folder / last).unlink(missing_ok=True)
            for file in sorted(temporary.iterdir(), key=lambda file: file.name == last):
                os.replace(file, folder / file.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); see to space and rights, or write "
            f"elsewhere; what was there is as it was"
        ) from error


def refuse_link_outside(path: Path, folder: Path) -> None:
    """Raise UserError if `path` is, or lies behind, a symbolic link that leads out of `folder`."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}: is a link out of {folder}; put the file itself there")


def read_arrays(file: Path, *names: str) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file, or those of some names; pickled ones are refused.

    Raises
    ------
    ValueError
        It is no such file, or cut, or lacks a name.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}
    except Exception as error:  # of a dozen kinds, by where the file is wrong
        raise ValueError(f"{file.name} holds no such arrays ({error})") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, which has no nan: such a number becomes null."""
    value = json.loads(json.dumps(value), parse_constant=lambda _: None)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def digest(*parts: Any) -> str:
    """Return 12 hexadecimal digits that change when any part does.

    Arrays count by shape, type and bytes, everything else by its `repr`, which for frozen
    dataclasses lists every setting.
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
