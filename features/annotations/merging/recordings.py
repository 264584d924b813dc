"""Recordings of a data set and of an import: files, groups, sites and times."""

import filecmp
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from features.annotations.boxes import AnnotationError
from features.annotations.merging.tables import GROUPS, RECORDINGS, appended, read_or_empty
from features.common.files import real_path
from features.data.metadata import SiteTime, read_site_times, warn_unknown_rows
from features.data.tables import validate_rows, validate_unique

RECORDING_COLUMNS = ("recording_id", *SiteTime._fields, "file")


def new_recordings(
    existing: Mapping[str, Path], recordings: Mapping[str, Path], root: Path
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the recordings that the data set does not contain, and those that were moved.

    A recording was moved if the data set refers to a file that does not exist any more.

    Parameters
    ----------
    existing, recordings : mapping of str to Path
        Audio file of each recording of the data set, and of each recording to add.
    root : Path
        Folder of the data set, for messages.

    Raises
    ------
    AnnotationError
        A recording has the id of a different file of the data set, or is in the data set under another id.
    """
    id_of = {real_path(path): recording_id for recording_id, path in existing.items()}
    new, moved = {}, {}
    for recording_id, path in recordings.items():
        known = existing.get(recording_id)
        if known is None:
            if real_path(path) in id_of:
                raise AnnotationError(
                    f"{path}: in {root} it is recording '{id_of[real_path(path)]}', here '{recording_id}'; "
                    f"give the same folder of recordings as before"
                )
            new[recording_id] = path
        elif not (known.exists() or known.is_symlink()):
            moved[recording_id] = path
        elif not _is_same_audio(path, known):
            raise AnnotationError(
                f"{path}: recording '{recording_id}' is a different file in {root} ({known}); rename the "
                f"new file"
            )
    return new, moved


def group_table(root: Path, given: Path, recordings: Sequence[str]) -> pd.DataFrame | None:
    """Return groups.csv with the rows of another such table.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    given : Path
        Table of recording_id and group; it does not have to exist.
    recordings : sequence of str
        All training recordings after the import.

    Raises
    ------
    AnnotationError
        A recording has no group, or has different groups in the two tables.
    DatasetError
        A table is not valid.
    """
    if not (root / GROUPS).exists() and not given.exists():
        return None
    columns = ("recording_id", "group")
    existing, more = read_or_empty(root / GROUPS, columns), read_or_empty(given, columns)
    validate_unique(more, "recording_id", given)
    validate_rows(more, more["group"] == "", path=given, message="'{recording_id}' has no group; add one")
    known = more["recording_id"].map(dict(existing[list(columns)].to_numpy()))
    validate_rows(
        more.assign(known=known),
        known.notna() & (known != more["group"]),
        path=given,
        message=f"group of '{{recording_id}}' is '{{group}}', but '{{known}}' in {root / GROUPS}; correct "
        f"one of the two",
        error=AnnotationError,
    )
    new = more[known.isna() & more["recording_id"].isin(recordings)]
    merged = appended(existing, new)
    grouped = set(merged["recording_id"])
    missing = [recording_id for recording_id in recordings if recording_id not in grouped]
    if missing:
        raise AnnotationError(
            f"{given if given.exists() else root / GROUPS}: {len(missing)} recordings have no group (first: "
            f"'{missing[0]}'); add their lines before the import"
        )
    return merged if len(new) else None


def new_site_times(root: Path, given: Path, recordings: Collection[str]) -> dict[str, dict[str, str]]:
    """Return what a table says about site and time of recordings and recordings.csv does not say.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    given : Path
        Table as in `read_site_times`; it does not have to exist.
    recordings : collection of str
        Ids of the recordings of the import.

    Returns
    -------
    dict of str to dict of str to str
        Text of the cells by recording id and column.

    Raises
    ------
    AnnotationError
        The two tables differ.
    DatasetError
        A table is not valid.

    Warns
    -----
    UserWarning
        A row belongs to no recording.
    """
    stated, known = read_site_times(given), read_site_times(root / RECORDINGS)
    warn_unknown_rows(stated, {*recordings, *known}, given)
    text = read_or_empty(given, RECORDING_COLUMNS[:1])
    cells: dict[str, dict[str, str]] = {}
    for line, recording_id in zip(text.index, text["recording_id"], strict=True):
        if recording_id not in recordings:
            continue
        before = known.get(recording_id, SiteTime())._asdict()
        for column, value in stated[recording_id]._asdict().items():
            if not _is_known(value):
                continue
            if not _is_known(before[column]):
                cells.setdefault(recording_id, {})[column] = text.loc[line, column]
            elif value != before[column]:
                raise AnnotationError(
                    f"{given} line {line}: {column} of '{recording_id}' is '{value}', but '{before[column]}' "
                    f"in {root / RECORDINGS}; correct one of the two"
                )
    return cells


def recording_table(
    root: Path, files: Mapping[str, Path], site_times: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame | None:
    """Return recordings.csv with new cells.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    files : mapping of str to Path
        Audio files; the table contains their paths, relative to the data set where possible.
    site_times : mapping of str to mapping of str to str
        What `new_site_times` returned.
    """
    cells = {key: dict(site_times.get(key, {})) for key in [*files, *site_times]}
    if not cells:
        return None
    for recording_id, path in files.items():
        cells[recording_id]["file"] = _relative(path, root)
    table = read_or_empty(root / RECORDINGS, RECORDING_COLUMNS[:1])
    columns = [*table, *(name for name in RECORDING_COLUMNS if name not in table)]
    table = table.reindex(columns=columns, fill_value="").set_index("recording_id")
    table = table.reindex([*table.index, *(key for key in cells if key not in table.index)], fill_value="")
    table.update(pd.DataFrame.from_dict(cells, orient="index", dtype=object))
    return table.rename_axis("recording_id").reset_index()[columns]


def _is_same_audio(path: Path, other: Path) -> bool:
    """Return whether two paths have the same file, or files of the same content."""
    return real_path(path) == real_path(other) or (other.exists() and filecmp.cmp(path, other, shallow=False))


def _is_known(value: str | float) -> bool:
    """Return whether a value of a `SiteTime` is neither "" nor nan."""
    return value == value and value != ""


def _relative(path: Path, root: Path) -> str:
    """Return the path of a file relative to a folder, or its absolute path if it is on another drive."""
    try:
        return Path(os.path.relpath(real_path(path), real_path(root))).as_posix()
    except ValueError:
        return real_path(path).as_posix()
