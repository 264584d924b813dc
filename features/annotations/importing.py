"""Import of label files into a data set: what is read, added and reported.

A killed import leaves a valid data set, and the same import, repeated, finishes it. All tables are written to
temporary files first, and then moved in the order species.csv, train_labels.csv, groups.csv, audio files,
recordings.csv, train_fp.csv, train_tp.csv, reviews.csv. A table can then only refer to what the tables before
it contain: species, labels and groups without recordings, recordings without boxes, and FP boxes without TP
boxes are valid. A new data set exists once train_tp.csv does.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from features.annotations.boxes import COLUMNS, AnnotationError
from features.annotations.formats import FORMATS, read_labels
from features.annotations.matching import match_recordings
from features.annotations.merging.boxes import (
    UNKNOWN_SONGTYPE,
    existing_boxes,
    table_of_boxes,
    unique_boxes,
    validate_begin,
    with_bands,
)
from features.annotations.merging.labels import label_table
from features.annotations.merging.recordings import (
    group_table,
    new_recordings,
    new_site_times,
    recording_table,
)
from features.annotations.merging.reviews import review_table
from features.annotations.merging.species import existing_species, merged_species, species_table
from features.annotations.merging.tables import (
    FP,
    GROUPS,
    LABELS,
    PRESENCE,
    RECORDINGS,
    REVIEWS,
    SPECIES,
    TP,
)
from features.common.errors import UserError
from features.common.files import real_path, replacing, validate_inside_folder
from features.common.formulas import escape_formulas
from features.data.dataset import training_recordings
from features.data.recordings import READABLE, files_below, find_recordings
from features.data.tables import read_table

LABEL_SUFFIXES = (".txt", ".csv", ".tsv")
SPREADSHEET_SUFFIXES = (".xlsx", ".xls", ".ods")
NOT_LABELS = (
    *("species.csv", "presence.csv", "recordings.csv", "groups.csv", "readme*"),
    *("scores.csv", "submission.csv", "prior.csv", "failed_recordings.csv"),  # written by predict
    *("deployments.csv", "media.csv", "observations.csv"),  # Camtrap DP
    *("config.txt", "*_summary.txt"),  # written by AudioMoth and Song Meter
)
"""Names of text files, in any case, that are in folders of recordings and labels but are not label files."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    formats : pd.DataFrame
        Number of files, boxes, tp, fp, duplicates and not_reviewed boxes of each format, indexed by its name.
    new_species : tuple of str
    n_new_recordings, n_moved_recordings : int
    without_band : int
        Number of imported boxes whose frequencies were unknown.
    other_folders : tuple of str
        Folders that labels state for recordings that were found elsewhere by their file name, with the folder
        in which they were found.
    ignored : tuple of Path
        Files in `NOT_LABELS` that were not used.
    """

    formats: pd.DataFrame
    new_species: tuple[str, ...]
    n_new_recordings: int
    n_moved_recordings: int
    without_band: int
    other_folders: tuple[str, ...]
    ignored: tuple[Path, ...]


def import_labels(
    source: Path,
    labels: Path,
    out: Path,
    *,
    label_column: str | None = None,
    copy: bool = False,
    follow_links: bool = False,
) -> ImportReport:
    """Add recordings and the boxes of label files to a data set, and return a report.

    Reviewed boxes become TP or FP boxes. All recordings become training recordings.

    Parameters
    ----------
    source : Path
        Folder of recordings. Optional: `recordings.csv` has site and time, and `groups.csv` the groups of the
        recordings, as in a data set.
    labels : Path
        Folder of label files, whose subfolders are searched, or a label file. Optional, in the same folder:
        `presence.csv` has complete 0/1 labels, with one column per species name; `species.csv` sets the
        numbers of the species.
    out : Path
        Folder of the data set; it is created if it does not exist.
    label_column : str, optional
        Column of the species, as in `read_labels`.
    copy : bool
        Whether to copy the audio files to the data set; by default recordings.csv refers to them.
    follow_links : bool
        Whether symbolic links may lead out of the folders.

    Raises
    ------
    AnnotationError
        There are no labels, a label file is not valid, or it contradicts another one or the
        data set. The data set is then unchanged.
    DatasetError
        A table of the data set, species.csv or presence.csv is not valid.
    AudioError
        A recording that a box without frequencies needs cannot be opened.
    UserError
        There are no recordings, or a symbolic link leads out of a folder.
    """
    recordings = find_recordings(source, follow_links=follow_links)
    if not recordings:
        raise UserError(f"{source}: no recordings found; {READABLE}, give a folder of such files")
    in_data_set = training_recordings(out, follow_links=follow_links)
    copies = real_path(out / "train"), real_path(out / "test")
    recordings = {  # if the data set is inside the folder of recordings, its copies are no new recordings
        recording_id: path
        for recording_id, path in recordings.items()
        if recording_id in in_data_set or not any(real_path(path).is_relative_to(parent) for parent in copies)
    }
    folder = labels if labels.is_dir() else labels.parent
    files, ignored = find_label_files(labels, out, follow_links=follow_links)
    found, n_files = _read_all(files, label_column)
    boxes = found[found["verified"] != ""].reset_index(drop=True)
    boxes = boxes.join(match_recordings(boxes, recordings, folder))
    if not (boxes["verified"] == "yes").any() and not (out / TP).exists():
        raise AnnotationError(
            f"{labels}: no confirmed box ({len(boxes)} rejected, {len(found) - len(boxes)} not reviewed), "
            f"but a data set needs one; review the boxes and write 'yes' or 'no' in a column 'Verified'"
        )
    given = GivenTables(
        groups=source / GROUPS,
        recordings=source / RECORDINGS,
        presence=folder / PRESENCE,
        species=folder / SPECIES,
    )
    added = add_boxes(boxes, recordings, out, given=given, copy=copy, follow_links=follow_links)
    used = {given.groups, given.recordings, given.presence, given.species}
    return ImportReport(
        formats=_counts(found, n_files, boxes.assign(duplicate=~added.unique)),
        new_species=added.new_species,
        n_new_recordings=added.n_new_recordings,
        n_moved_recordings=added.n_moved_recordings,
        without_band=int(boxes.loc[added.unique, "f_min"].isna().sum()),
        other_folders=_other_folders(boxes),
        ignored=tuple(path for path in ignored if path not in used),
    )


class GivenTables(NamedTuple):
    """Optional tables with what is known of new recordings and species; the files do not have to exist.

    Attributes
    ----------
    groups, recordings : groups.csv and recordings.csv, as in a data set.
    presence : complete 0/1 labels, with one column per species name.
    species : species.csv, which sets the numbers of new species.
    """

    groups: Path
    recordings: Path
    presence: Path
    species: Path


class Added(NamedTuple):
    """What `add_boxes` added to a data set.

    Attributes
    ----------
    unique : bool for each box, whether it was added; the data set already had the others.
    new_species : names of the species that the data set did not have.
    n_new_recordings, n_moved_recordings : numbers of recordings.
    """

    unique: pd.Series
    new_species: tuple[str, ...]
    n_new_recordings: int
    n_moved_recordings: int


def add_boxes(
    boxes: pd.DataFrame,
    recordings: Mapping[str, Path],
    out: Path,
    *,
    given: GivenTables,
    copy: bool = False,
    follow_links: bool = False,
    reviews: pd.DataFrame | None = None,
) -> Added:
    """Add recordings and reviewed boxes to a data set, or to a new one if a box is confirmed.

    Parameters
    ----------
    boxes : pd.DataFrame
        Boxes with the columns of `features.annotations.boxes`, all of them reviewed, and recording_id, file
        and line.
    recordings : mapping of str to Path
        Audio file of each recording to add; those that the data set has are left as they are.
    out : Path
        Folder of the data set.
    given : GivenTables
    copy, follow_links : bool
        As in `import_labels`.
    reviews : pd.DataFrame, optional
        Rows to add to `REVIEWS`, the table of the verdicts of `review.py`, as text.

    Raises
    ------
    AnnotationError
        A box or a table contradicts the data set, which is then unchanged.
    DatasetError, AudioError, UserError
        As in `import_labels`.
    """
    in_data_set = training_recordings(out, follow_links=follow_links)
    known_species = existing_species(out, follow_links=follow_links)
    present = read_table(given.presence, ("recording_id",)).columns[1:] if given.presence.exists() else ()
    species = merged_species(out, known_species, names=[*boxes["species"], *present], numbered=given.species)
    boxes = boxes.assign(
        species_id=boxes["species"].map({name: k for k, name in enumerate(species)}).astype(int),
        songtype_id=boxes["songtype"].replace("", UNKNOWN_SONGTYPE).astype(float),
    )
    new, moved = new_recordings(in_data_set, recordings, out)
    all_recordings = [*in_data_set, *new]
    groups = group_table(out, given.groups, all_recordings)
    site_times = new_site_times(out, given.recordings, recordings)
    validate_begin(boxes, recordings)
    existing = existing_boxes(out)
    unique = unique_boxes(boxes, existing)
    added = with_bands(boxes[unique], existing, recordings)
    is_tp = added["verified"] == "yes"
    complete = label_table(out, given.presence, species=species, recordings=all_recordings, boxes=boxes)
    tables = {
        SPECIES: species_table(out, species, len(known_species)),
        LABELS: complete,
        GROUPS: groups,
        RECORDINGS: recording_table(out, moved | ({} if copy else new), site_times),
        FP: table_of_boxes(out, FP, added[~is_tp]),
        TP: table_of_boxes(out, TP, added[is_tp]),
        REVIEWS: None if reviews is None else review_table(out, reviews),
    }
    _write(out, tables, copied=new if copy else {})
    return Added(unique, tuple(species[len(known_species) :]), len(new), len(moved))


def find_label_files(folder: Path, out: Path, *, follow_links: bool = False) -> tuple[list[Path], list[Path]]:
    """Return the label files in a folder and its subfolders, and the ignored text files, each sorted.

    Hidden files and folders, and the tables of the data set, are left out. If `folder` is a file, it is the
    only label file.

    Raises
    ------
    AnnotationError
        There are no label files, or a file is a spreadsheet in a binary format.
    UserError
        A symbolic link leads out of the folder, and `follow_links` is false.
    """
    if folder.is_file():
        return [folder], []
    if not folder.exists():
        raise AnnotationError(f"{folder}: no such file or folder; give label files, or a folder of them")
    files: list[Path] = []
    ignored: list[Path] = []
    for path in files_below(folder, real_path(folder), follow_links=follow_links, parents=()):
        suffix = path.suffix.lower()
        if real_path(path).parent == real_path(out):
            continue
        if suffix in SPREADSHEET_SUFFIXES:
            raise AnnotationError(f"{path}: spreadsheets are not read; save it as CSV, or move it elsewhere")
        if suffix in LABEL_SUFFIXES:
            if not follow_links:
                validate_inside_folder(path, folder)
            is_other = any(fnmatch(path.name.lower(), pattern) for pattern in NOT_LABELS)
            (ignored if is_other else files).append(path)
    if not files:
        raise AnnotationError(
            f"{folder}: no label files found; give a folder with {', '.join(LABEL_SUFFIXES)} files"
        )
    return files, ignored


def _read_all(files: list[Path], label_column: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """Return the boxes of all files, with file, line and format, and the number of files of each format."""
    parts = []
    names = []
    for path in files:
        name, boxes = read_labels(path, label_column)
        names.append(name)
        parts.append(boxes.assign(file=str(path), line=boxes.index, format=name))
    columns = [*COLUMNS, "file", "line", "format"]
    found = [part for part in parts if len(part)]
    labels = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
    return labels, pd.Series(names).value_counts()


def _counts(labels: pd.DataFrame, n_files: pd.Series, boxes: pd.DataFrame) -> pd.DataFrame:
    """Return `ImportReport.formats`."""
    names = [known.name for known in FORMATS if known.name in n_files.index]
    new = boxes[~boxes["duplicate"]]
    counts = {
        "files": n_files,
        "boxes": labels["format"].value_counts(),
        "tp": new.loc[new["verified"] == "yes", "format"].value_counts(),
        "fp": new.loc[new["verified"] == "no", "format"].value_counts(),
        "duplicates": boxes.loc[boxes["duplicate"], "format"].value_counts(),
        "not_reviewed": labels.loc[labels["verified"] == "", "format"].value_counts(),
    }
    return pd.DataFrame({name: count.reindex(names, fill_value=0) for name, count in counts.items()})


def _other_folders(boxes: pd.DataFrame) -> tuple[str, ...]:
    """Return a description of each folder that differs from the folder of the recording."""
    elsewhere = boxes.loc[boxes["other_folder"] != "", ["other_folder", "folder"]]
    return tuple(
        f"{stated} -> {found}" for stated, found in sorted(set(elsewhere.itertuples(index=False, name=None)))
    )


def _write(out: Path, tables: Mapping[str, pd.DataFrame | None], copied: Mapping[str, Path]) -> None:
    """Replace tables and copy audio files in the order of `features.annotations.importing`."""
    writes: list[tuple[Path, Callable[[Path], object]]] = []
    for name, table in tables.items():
        if name == RECORDINGS:
            for recording_id, path in copied.items():
                writes.append((out / "train" / f"{recording_id}{path.suffix}", partial(shutil.copy2, path)))
        if table is not None:
            writes.append((out / name, partial(escape_formulas(table).to_csv, index=False)))
    with ExitStack() as moves:  # the file that is entered last is moved first
        for file, write in reversed(writes):
            write(moves.enter_context(replacing(file)))
