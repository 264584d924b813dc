"""The data layout on disk -> `Dataset`, validated.

    DATA/
      train/<recording_id>.<flac|wav|ogg|mp3>     test/<recording_id>.<...>    (test optional)
      train_tp.csv, train_fp.csv    recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max
      sample_submission.csv         recording_id,s0..s{S-1}: fixes S and the test recordings
      species.csv                   species_id,name
      train_labels.csv, test_labels.csv   recording_id,s0..: complete 0/1 truth
      groups.csv                    recording_id,group: recordings that share a background

Only `train` and `train_tp.csv` are needed. This is the layout of the RFCX challenge's download.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import refuse_link_outside

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")
MOST_SPECIES = 1_000_000
BOX_COLUMNS = ("recording_id", "species_id", "songtype_id", "t_min", "f_min", "t_max", "f_max")


class DatasetError(UserError):
    """A data set that does not follow the layout."""


@dataclass(frozen=True)
class Dataset:
    """A validated data set; nothing is decoded yet.

    name : the folder's name.
    species : (S,) names, "s<k>" where species.csv does not give one.
    train, test : recording id -> audio file; test in the order of the sample submission.
    tp, fp : boxes with the columns of `BOX_COLUMNS`, seconds and hertz; the index is the table's line.
    train_labels, test_labels : (n_recordings, S) complete 0/1 truth in the order of the recordings.
    groups : (n_train,) group of each training recording; its own where groups.csv is missing.
    unscored : test recordings that were left out by `without`.
    """

    name: str
    root: Path
    species: tuple[str, ...]
    train: dict[str, Path]
    test: dict[str, Path]
    tp: pd.DataFrame
    fp: pd.DataFrame
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    groups: np.ndarray
    unscored: tuple[str, ...] = ()

    @property
    def n_species(self) -> int:
        return len(self.species)

    def species_without_tp(self) -> list[str]:
        """Return the names of the species that no TP box shows; nothing can be learned of them."""
        seen = set(self.tp["species_id"])
        return [name for k, name in enumerate(self.species) if k not in seen]

    def without(self, train: Collection[str], test: Collection[str]) -> Self:
        """Return the data set without some recordings, their boxes and their labels.

        Raises
        ------
        DatasetError
            No training recording is left, or no TP box.
        """
        in_train = np.array([r not in train for r in self.train])
        in_test = np.array([r not in test for r in self.test], bool)
        tp, fp = (boxes[~boxes["recording_id"].isin(list(train))] for boxes in (self.tp, self.fp))
        if tp.empty:
            raise DatasetError(
                f"{self.root / 'train'}: of {len(self.train)} recordings none with a TP box can be decoded; "
                f"replace the files"
            )
        return replace(
            self,
            train={
                recording_id: path for recording_id, path in self.train.items() if recording_id not in train
            },
            test={recording_id: path for recording_id, path in self.test.items() if recording_id not in test},
            tp=tp,
            fp=fp,
            train_labels=None if self.train_labels is None else self.train_labels[in_train],
            test_labels=None if self.test_labels is None else self.test_labels[in_test],
            groups=self.groups[in_train],
            unscored=tuple(r for r in self.test if r in test),
        )


def load_dataset(root: Path, name: str | None = None) -> Dataset:
    """Return the data set in folder `root`, named after it unless `name` is given.

    Raises
    ------
    DatasetError
        Something does not follow the layout; the message names file, line, value and remedy.
    """
    root = root.resolve()
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give --data the folder that holds train_tp.csv")
    train = find_recordings(root / "train")
    if not train:
        raise DatasetError(
            f"{root / 'train'}: holds no recordings; put {', '.join(AUDIO_SUFFIXES)} files there"
        )
    submission = _score_table(root / "sample_submission.csv")
    train_truth = _score_table(root / "train_labels.csv")
    test_truth = _score_table(root / "test_labels.csv")
    listed = root / "species.csv"
    names = species_names(listed) if listed.exists() else None
    tp = _boxes(root / "train_tp.csv", train)
    if tp.empty:
        raise DatasetError(f"{root / 'train_tp.csv'}: holds no boxes; at least one TP box is needed")
    fp = _boxes(root / "train_fp.csv", train) if (root / "train_fp.csv").exists() else tp.iloc[:0]

    n_species = _n_species(
        root,
        {
            "sample_submission.csv": submission,
            "species.csv": names,
            "train_labels.csv": train_truth,
            "test_labels.csv": test_truth,
        },
        boxes=pd.concat([tp, fp]),
    )
    for file, boxes in (("train_tp.csv", tp), ("train_fp.csv", fp)):
        outside = boxes["species_id"] >= n_species
        _refuse(
            boxes,
            outside,
            root / file,
            f"species_id {{species_id}} is outside 0..{n_species - 1}; correct it, or add the species to the "
            f"other tables",
        )

    test = find_recordings(root / "test")
    if test and submission is not None:
        test = _select(test, submission.index, root / "sample_submission.csv", root / "test")
    train_labels = _labels(train_truth, train, root / "train_labels.csv")
    if train_labels is not None:
        _check_agreement(tp, train_labels, train, root)
    return Dataset(
        name=name or root.name,
        root=root,
        species=tuple(names if names is not None else (f"s{k}" for k in range(n_species))),
        train=train,
        test=test,
        tp=tp,
        fp=fp,
        train_labels=train_labels,
        test_labels=_labels(test_truth, test, root / "test_labels.csv") if test else None,
        groups=_groups(root / "groups.csv", train),
    )


def check_boxes_begin_inside(dataset: Dataset, duration: Mapping[str, float]) -> None:
    """Raise DatasetError for a box that begins after the end of its recording.

    Parameters
    ----------
    duration : seconds of each training recording.
    """
    for file, boxes in (("train_tp.csv", dataset.tp), ("train_fp.csv", dataset.fp)):
        end = boxes["recording_id"].map(duration).astype(float)  # an empty table maps to text
        outside = boxes["t_min"] >= end
        _refuse(
            boxes.assign(end=end),
            outside,
            dataset.root / file,
            "t_min {t_min:g} is past the end of '{recording_id}' ({end:g} s); correct or remove the box",
        )


def find_recordings(folder: Path) -> dict[str, Path]:
    """Return recording id -> file of a folder's audio, sorted by id; empty without the folder."""
    found: dict[str, Path] = {}
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in files:
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DatasetError(
                f"{path}: recording id '{path.stem}' is also that of {found[path.stem].name}; "
                f"keep one of the two files"
            )
        refuse_link_outside(path, folder)
        found[path.stem] = path
    return found


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a CSV table of strings that has `columns`, indexed by line number.

    Raises
    ------
    DatasetError
        The file is missing, is no table, or lacks a column; or a recording's id is no file's name.
    """
    refuse_link_outside(path, path.parent)
    try:
        # utf-8-sig: spreadsheets begin UTF-8 with a mark that is not part of the first column's name.
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False, header=None
        )
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: is missing; the data set needs it") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: byte {error.object[error.start]:#04x} at {error.start} is not UTF-8; save it as UTF-8"
        ) from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DatasetError(f"{path}: is not a CSV table ({reason}); save it as comma-separated") from error
    table = table.fillna("")  # a line that is shorter than the header
    table.columns = pd.Index(table.iloc[0].str.strip())
    table.index = pd.RangeIndex(1, len(table) + 1)  # lines; the first is the header
    table = table.iloc[1:]
    table = table[(table != "").any(axis=1)]
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise DatasetError(f"{path}: column '{twice}' stands there twice; keep one")
    for column in columns:
        if column not in table.columns:
            raise DatasetError(
                f"{path}: lacks column '{column}' (found: {', '.join(table.columns)}); add it, "
                f"separated by commas"
            )
    if "recording_id" in columns:
        unsafe = table["recording_id"].str.contains(r"[/\\\0]|^\.*$", regex=True)
        _refuse(
            table,
            unsafe,
            path,
            "recording_id '{recording_id}' is not a file's name; ids are file stems without folder or suffix",
        )
    return table


def read_numbers(path: Path, key: str, value: str) -> dict[str, float]:
    """Return a CSV table of two columns, text -> a finite number of at least 0.

    Raises
    ------
    DatasetError
        As `load_dataset`.
    """
    table = read_table(path, (key, value))
    _check_unique(table, key, path)
    return dict(zip(table[key], _numbers(table, value, path), strict=True))


def _refuse(table: pd.DataFrame, wrong: pd.Series, path: Path, message: str) -> None:
    """Raise DatasetError for the first line that is `wrong`; its values go into the message."""
    if wrong.any():
        row = table[wrong].iloc[0]
        raise DatasetError(f"{path} line {row.name}: {message.format(**row)}")


def _numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """Return a column as finite, non-negative float64."""
    values = pd.to_numeric(table[column], errors="coerce")
    wrong = ~(np.isfinite(values) & (values >= 0))
    _refuse(table, wrong, path, f"{column} '{{{column}}}' is not a number of at least 0; correct it")
    return values.astype(float)


def _check_unique(table: pd.DataFrame, column: str, path: Path) -> None:
    repeated = table[column].duplicated()
    _refuse(table, repeated, path, f"{column} '{{{column}}}' stands there twice; keep one line")


def _boxes(path: Path, recordings: dict[str, Path]) -> pd.DataFrame:
    table = read_table(path, BOX_COLUMNS)
    boxes = pd.DataFrame({"recording_id": table["recording_id"]})
    for column in BOX_COLUMNS[1:]:
        boxes[column] = _numbers(table, column, path)
    no_number = (boxes["species_id"] % 1 != 0) | (boxes["species_id"] > MOST_SPECIES)
    _refuse(table, no_number, path, "species_id '{species_id}' is not a species' number; correct it")
    boxes["species_id"] = boxes["species_id"].astype(int)
    for low, high in (("t_min", "t_max"), ("f_min", "f_max")):
        empty = boxes[high] <= boxes[low]
        _refuse(
            boxes,
            empty,
            path,
            f"{high} {{{high}:g}} is not above {low} {{{low}:g}}; correct or remove the box",
        )
    missing = ~boxes["recording_id"].isin(list(recordings))
    remedy = "add the file or remove the box"
    _refuse(boxes, missing, path, f"recording '{{recording_id}}' has no audio in train; {remedy}")
    return boxes


def _score_table(path: Path) -> pd.DataFrame | None:
    """Return a table of recording_id,s0..s{S-1} as float, indexed by recording; None without the file."""
    if not path.exists():
        return None
    table = read_table(path, ("recording_id", "s0"))
    expected = ["recording_id", *(f"s{k}" for k in range(table.shape[1] - 1))]
    if list(table.columns) != expected:
        wrong = next(name for name, want in zip(table.columns, expected, strict=True) if name != want)
        raise DatasetError(
            f"{path}: column '{wrong}' is out of place; the columns are recording_id,s0..{expected[-1]}"
        )
    _check_unique(table, "recording_id", path)
    return pd.DataFrame(
        {name: _numbers(table, name, path).to_numpy() for name in expected[1:]},
        index=pd.Index(table["recording_id"]),
    )


def species_names(path: Path) -> list[str]:
    """Return the names in a table of species_id,name, by number; DatasetError as `load_dataset`."""
    table = read_table(path, ("species_id", "name"))
    ids = _numbers(table, "species_id", path)
    if sorted(ids) != list(range(len(table))):
        raise DatasetError(
            f"{path}: species_id must be 0..{len(table) - 1}, once each "
            f"(found: {', '.join(table['species_id'][:30])}); renumber the species"
        )
    return [str(name) for name in table.loc[ids.sort_values().index, "name"]]


def _n_species(root: Path, tables: dict[str, pd.DataFrame | list[str] | None], boxes: pd.DataFrame) -> int:
    counts = {
        file: table.shape[1] if isinstance(table, pd.DataFrame) else len(table)
        for file, table in tables.items()
        if table is not None
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{file} {count}" for file, count in counts.items())
        raise DatasetError(
            f"{root}: the tables differ in their number of species ({listed}); make them agree"
        )
    if counts:
        return next(iter(counts.values()))
    found, highest = boxes["species_id"].nunique(), int(boxes["species_id"].max())
    if highest > 10 * found + 10:
        raise DatasetError(
            f"{root}: species_id {highest} in the boxes, which show {found} species; number them from 0, "
            f"or list all in species.csv"
        )
    return highest + 1


def _select(recordings: dict[str, Path], ids: pd.Index, table: Path, folder: Path) -> dict[str, Path]:
    """Return the recordings of `ids`, in that order; each must have audio."""
    for line, recording_id in enumerate(ids, start=2):
        if recording_id not in recordings:
            raise DatasetError(
                f"{table} line {line}: recording '{recording_id}' has no audio in {folder.name}; "
                f"add the file or remove the line"
            )
    return {recording_id: recordings[recording_id] for recording_id in ids}


def _labels(table: pd.DataFrame | None, recordings: dict[str, Path], path: Path) -> np.ndarray | None:
    """Return (n_recordings, S) complete 0/1 truth in the order of `recordings`."""
    if table is None:
        return None
    for recording_id in recordings:
        if recording_id not in table.index:
            raise DatasetError(f"{path}: lacks recording '{recording_id}'; truth must cover every recording")
    labels = table.loc[list(recordings)].to_numpy()
    if not np.isin(labels, (0, 1)).all():
        row, column = np.argwhere(~np.isin(labels, (0, 1)))[0]
        raise DatasetError(
            f"{path}: recording '{list(recordings)[row]}' has {labels[row, column]:g} for s{column}; "
            f"labels are 0 or 1"
        )
    return labels.astype(np.int8)


def _check_agreement(tp: pd.DataFrame, labels: np.ndarray, recordings: dict[str, Path], root: Path) -> None:
    row = {recording_id: k for k, recording_id in enumerate(recordings)}
    denied = labels[tp["recording_id"].map(row).astype(int), tp["species_id"]] == 0
    _refuse(
        tp,
        pd.Series(denied, tp.index),
        root / "train_tp.csv",
        "a TP box shows species {species_id} in '{recording_id}', but train_labels.csv says 0; "
        "correct one of the two",
    )


def _groups(path: Path, recordings: dict[str, Path]) -> np.ndarray:
    """Return the (n_recordings,) group of each recording, numbered from 0."""
    if not path.exists():
        return np.arange(len(recordings))
    table = read_table(path, ("recording_id", "group"))
    _check_unique(table, "recording_id", path)
    _refuse(table, table["group"] == "", path, "recording '{recording_id}' has no group; name one")
    group = table.set_index("recording_id")["group"]
    for recording_id in recordings:
        if recording_id not in group.index:
            raise DatasetError(f"{path}: lacks recording '{recording_id}'; add its line")
    codes, _ = pd.factorize(group[list(recordings)])
    return np.asarray(codes)
