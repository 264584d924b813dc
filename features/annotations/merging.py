"""Adding boxes, species and recordings to the tables of a data set.

Each function returns the complete new table, in which the existing rows come first and are unchanged, or None
if nothing is new. Tables are text, as in `features.data.tables`.
"""

import filecmp
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.annotations.boxes import BAND, TIMES, AnnotationError
from features.data.audio import MP3_TOLERANCE, AudioError, stated_size
from features.data.dataset import BOX_COLUMNS, RESERVED_NAMES, load_dataset, species_names
from features.data.metadata import SiteTime, read_site_times, warn_unknown_rows
from features.data.tables import column_as_numbers, read_table, validate_rows, validate_unique

TP, FP = "train_tp.csv", "train_fp.csv"
BOX_TABLES = {"yes": TP, "no": FP}
SPECIES = "species.csv"
PRESENCE = "presence.csv"
LABELS = "train_labels.csv"
GROUPS = "groups.csv"
RECORDINGS = "recordings.csv"
RECORDING_COLUMNS = ("recording_id", *SiteTime._fields, "file")
SCORE_TABLES = ("sample_submission.csv", LABELS, "test_labels.csv")
UNKNOWN_SONGTYPE = "1"
DETECTED = {"t_min": 3, "t_max": 3, "f_min": 1, "f_max": 1}
"""Decimals of the numbers in detections.csv."""


def existing_species(root: Path, *, follow_links: bool) -> list[str]:
    """Return the names of the species of a data set in the order of their numbers; empty if there is none."""
    if (root / SPECIES).exists():
        return species_names(root / SPECIES)
    return list(load_dataset(root, follow_links=follow_links).species) if (root / TP).exists() else []


def merged_species(root: Path, existing: Sequence[str], *, names: Sequence[str], numbered: Path) -> list[str]:
    """Return the names of all species: those of the data set, then the new ones in alphabetical order.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    existing : sequence of str
        What `existing_species` returned.
    names : sequence of str
        Names of the species of boxes and presence table.
    numbered : Path
        Table species_id,name that sets the numbers of new species; it does not have to exist.

    Raises
    ------
    AnnotationError
        The table does not contain a species or contradicts the data set, or a new species needs a column in
        another table of the data set.
    """
    order = sorted(set(names))
    if numbered.exists():
        listed = species_names(numbered)
        for name in sorted(set(names) - set(listed)):
            raise AnnotationError(
                f"{numbered}: missing species '{name}' of the boxes; add it, or correct the name"
            )
        for k, (name, known) in enumerate(zip(listed, existing, strict=False)):
            if name != known:
                raise AnnotationError(
                    f"{numbered}: species {k} is '{name}', but '{known}' in {root}; use the numbers of "
                    f"the data set, or remove the file"
                )
        order = listed
    new = [name for name in order if name not in existing]
    merged = [*existing, *new]
    for k, name in enumerate(merged):
        if name in RESERVED_NAMES:
            raise AnnotationError(
                f"species '{name}' has the name of a column of the scores of predict; rename it in the boxes"
            )
        if name in {f"s{other}" for other in range(len(merged))} - {f"s{k}"}:
            raise AnnotationError(
                f"species {k} would be named '{name}', which stands for another species; rename it in the "
                f"boxes, or number the species in {numbered}"
            )
    tables = [table for table in SCORE_TABLES if (root / table).exists()]
    if new and existing and tables:
        columns = ", ".join(f"s{k}" for k in range(len(existing), len(merged)))
        raise AnnotationError(
            f"{root}: new species {', '.join(new)}, but {', '.join(tables)} has columns for {len(existing)} "
            f"species; add {columns} to each of these tables and the names to {SPECIES}, or import into a "
            f"new data set"
        )
    return merged


def species_table(root: Path, species: Sequence[str], n_existing: int) -> pd.DataFrame | None:
    """Return species.csv; None if the data set has these species already."""
    if n_existing == len(species):
        return None
    if not (root / SPECIES).exists():
        return pd.DataFrame({"species_id": range(len(species)), "name": species})
    new = {"species_id": [str(k) for k in range(n_existing, len(species))], "name": species[n_existing:]}
    return _append(_read(root / SPECIES, ("species_id", "name")), pd.DataFrame(new))


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
    id_of = {path.resolve(): recording_id for recording_id, path in existing.items()}
    new, moved = {}, {}
    for recording_id, path in recordings.items():
        known = existing.get(recording_id)
        if known is None:
            if path.resolve() in id_of:
                raise AnnotationError(
                    f"{path}: in {root} it is recording '{id_of[path.resolve()]}', here '{recording_id}'; "
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
    existing, more = _read(root / GROUPS, columns), _read(given, columns)
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
    merged = _append(existing, new)
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
    text = _read(given, RECORDING_COLUMNS[:1])
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
    table = _read(root / RECORDINGS, RECORDING_COLUMNS[:1])
    columns = [*table, *(name for name in RECORDING_COLUMNS if name not in table)]
    table = table.reindex(columns=columns, fill_value="").set_index("recording_id")
    table = table.reindex([*table.index, *(key for key in cells if key not in table.index)], fill_value="")
    table.update(pd.DataFrame.from_dict(cells, orient="index", dtype=object))
    return table.rename_axis("recording_id").reset_index()[columns]


def label_table(
    root: Path, presence: Path, *, species: Sequence[str], recordings: Sequence[str], boxes: pd.DataFrame
) -> pd.DataFrame | None:
    """Return train_labels.csv with the rows of a presence table.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    presence : Path
        Table of recording_id and a column 0/1 per species name, in which a missing species is absent; it does
        not have to exist.
    species, recordings : sequence of str
        All species and training recordings after the import.
    boxes : pd.DataFrame
        New boxes, with the columns recording_id, species_id, verified, file and line.

    Raises
    ------
    AnnotationError
        A recording has no complete labels, or labels contradict those of the data set or a box.
    DatasetError
        The presence table is not valid.
    """
    columns = [f"s{k}" for k in range(len(species))]
    existing = _read(root / LABELS, ("recording_id", *columns))
    if existing.empty and not presence.exists():
        return None
    new = _presence(presence, species) if presence.exists() else existing.iloc[:0]
    known = existing.set_index("recording_id")
    for row in _rows(new[new["recording_id"].isin(known.index)]):
        for column, name in zip(columns, species, strict=True):
            if float(known[column][row.recording_id]) != float(getattr(row, column)):
                raise AnnotationError(
                    f"{presence} line {row.Index}: label of '{name}' in '{row.recording_id}' differs from "
                    f"{root / LABELS}; correct one of the two"
                )
    new = new[~new["recording_id"].isin(known.index)]
    merged = _append(existing, new)
    labels = merged.set_index("recording_id")
    missing = [recording_id for recording_id in recordings if recording_id not in labels.index]
    if missing:
        raise AnnotationError(
            f"{presence}: no row for {len(missing)} recordings (first: '{missing[0]}'), but {root / LABELS} "
            f"needs complete labels of all recordings; add the rows"
        )
    for box in _rows(boxes[boxes["verified"] == "yes"]):
        if float(labels[f"s{box.species_id}"][box.recording_id]) == 0:
            raise AnnotationError(
                f"{box.file} line {box.line}: box of '{species[box.species_id]}' in '{box.recording_id}', "
                f"but the complete labels say that it is absent; correct one of the two"
            )
    return merged if len(new) else None


def existing_boxes(root: Path) -> pd.DataFrame:
    """Return the boxes of a data set, with the columns of new boxes."""
    parts = []
    for verified, name in BOX_TABLES.items():
        table = _read(root / name, BOX_COLUMNS)
        boxes = table[["recording_id"]].assign(file=str(root / name), line=table.index, verified=verified)
        for column in BOX_COLUMNS[1:]:
            boxes[column] = column_as_numbers(table, column, root / name)
        parts.append(boxes)
    return pd.concat(parts, ignore_index=True)


def validate_begin(boxes: pd.DataFrame, recordings: Mapping[str, Path]) -> None:
    """Raise AnnotationError if a box begins after the end of its recording.

    Recordings whose header cannot be read are not checked; training reports them.
    """
    durations = {key: _duration(recordings[key]) for key in boxes["recording_id"].unique()}
    after = boxes[boxes["t_min"] >= boxes["recording_id"].map(durations).astype(float)]
    for box in _rows(after):
        raise AnnotationError(
            f"{box.file} line {box.line}: t_min {box.t_min:g} is past the end of '{box.recording_id}' "
            f"({durations[box.recording_id]:g} s); correct the times or the name of the recording"
        )


def unique_boxes(boxes: pd.DataFrame, existing: pd.DataFrame) -> pd.Series:
    """Return a bool for each box: whether no other box of the data set or of the import is identical.

    Boxes are identical if they have the same recording, species, song type, times and band, rounded to 1 ms
    and 1 Hz. A box without frequencies is identical to a box of any band.

    Parameters
    ----------
    boxes : pd.DataFrame
        New boxes, with the columns recording_id, species_id, songtype_id, the box, verified, file and line.
    existing : pd.DataFrame
        Boxes of the data set, with the same columns.

    Raises
    ------
    AnnotationError
        A box is confirmed, and an identical one is rejected.
    """
    known: dict[tuple, list] = {}
    unique = pd.Series(False, boxes.index)
    with_band_first = boxes.loc[boxes["f_min"].isna().sort_values(kind="stable").index]
    for is_new, table in ((False, existing), (True, with_band_first)):
        # Rounded to the decimals of detections.csv first, so that a box and its detection give the same.
        rounded = table[list(DETECTED)].round(DETECTED).round({"f_min": 0, "f_max": 0})
        for box, (*times, f_min, f_max) in zip(_rows(table), rounded.to_numpy(), strict=True):
            band = f_min, f_max
            others = known.setdefault((box.recording_id, box.species_id, *times), [])
            if is_new:
                same = [other for other, its_band in others if np.isnan(box.f_min) or its_band == band]
                for other in same:
                    _validate_verdicts(box, other)
                unique[box.Index] = box.songtype_id not in {other.songtype_id for other in same}
            others.append((box, band))
    return unique


def with_bands(boxes: pd.DataFrame, existing: pd.DataFrame, recordings: Mapping[str, Path]) -> pd.DataFrame:
    """Return boxes in which unknown frequencies are replaced.

    The band of a species is the median of its TP boxes with known frequencies, of the import and of the data
    set. Without such a box, it is the full range of the recording.

    Parameters
    ----------
    boxes, existing : pd.DataFrame
        New boxes and those of the data set, as in `unique_boxes`.
    recordings : mapping of str to Path
        Audio file of each recording id.

    Raises
    ------
    AudioError
        The full range is needed, but the recording cannot be opened.
    """
    confirmed = pd.concat([existing, boxes])
    confirmed = confirmed[(confirmed["verified"] == "yes") & confirmed["f_min"].notna()]
    bands = confirmed.groupby("species_id")[list(BAND)].median()
    boxes = boxes.copy()
    for box in _rows(boxes[boxes["f_min"].isna()]):
        band = (
            bands.loc[box.species_id].tolist()
            if box.species_id in bands.index
            else [0.0, stated_size(recordings[box.recording_id])[0] / 2]
        )
        boxes.loc[box.Index, list(BAND)] = band
    return boxes


def table_of_boxes(root: Path, name: str, boxes: pd.DataFrame) -> pd.DataFrame | None:
    """Return train_tp.csv or train_fp.csv with new boxes; a new data set has both, even if one is empty."""
    if boxes.empty and ((root / name).exists() or (root / TP).exists()):
        return None
    new = boxes[["recording_id"]].assign(songtype_id=boxes["songtype"].replace("", UNKNOWN_SONGTYPE))
    new["species_id"] = boxes["species_id"].astype(str)
    for column in (*TIMES, *BAND):
        new[column] = boxes[column].map(lambda value: repr(float(value)))
    return _append(_read(root / name, BOX_COLUMNS), new)


def _presence(path: Path, species: Sequence[str]) -> pd.DataFrame:
    """Return a presence table with the columns recording_id, s0, s1, ..., as text."""
    table = read_table(path, ("recording_id",))
    validate_unique(table, "recording_id", path)
    labels = table[["recording_id"]].copy()
    for k, name in enumerate(species):
        values = column_as_numbers(table, name, path) if name in table else pd.Series(0.0, table.index)
        wrong = table[~values.isin((0, 1))]
        if len(wrong):
            raise AnnotationError(
                f"{path} line {wrong.index[0]}: {name} '{wrong[name].iloc[0]}' is not 0 or 1; correct it"
            )
        labels[f"s{k}"] = values.astype(int).astype(str)
    return labels


def _validate_verdicts(box: Any, other: Any) -> None:
    """Raise AnnotationError if two identical boxes have different verdicts."""
    if box.verified == other.verified:
        return
    verdict = {"yes": "confirmed", "no": "rejected"}
    raise AnnotationError(
        f"{box.file} line {box.line}: box of '{box.species}' in '{box.recording_id}' ({box.t_min:g} to "
        f"{box.t_max:g} s) is {verdict[box.verified]}, but {verdict[other.verified]} in {other.file} line "
        f"{other.line}; correct one of the two"
    )


def _is_same_audio(path: Path, other: Path) -> bool:
    """Return whether two paths have the same file, or files of the same content."""
    return path.resolve() == other.resolve() or (other.exists() and filecmp.cmp(path, other, shallow=False))


def _is_known(value: str | float) -> bool:
    """Return whether a value of a `SiteTime` is neither "" nor nan."""
    return value == value and value != ""


def _relative(path: Path, root: Path) -> str:
    """Return the path of a file relative to a folder, or its absolute path if it is on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def _duration(path: Path) -> float:
    """Return the highest duration that a recording can have by its header, s; infinity if it is unknown."""
    try:
        _, duration = stated_size(path)
    except AudioError:
        return np.inf
    return duration / (1 - MP3_TOLERANCE) if path.suffix.lower() == ".mp3" else duration


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table, with its columns as attributes and the attribute Index."""
    yield from table.itertuples()


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a table as text, or an empty table with these columns if there is no file."""
    return read_table(path, columns) if path.exists() else pd.DataFrame(columns=columns, dtype=object)


def _append(table: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with new rows, in which missing columns are empty."""
    return pd.concat([table, new.reindex(columns=table.columns, fill_value="")], ignore_index=True)
