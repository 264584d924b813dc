"""The layout of a data set on disk, and `Dataset`, its validated content.

    DATA/
      train/**/<name>.<flac|wav|ogg|mp3>     test/**/<...>    (test optional)
      train_tp.csv, train_fp.csv    recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max
      sample_submission.csv         recording_id,s0..s{S-1}: defines the S species and the test recordings
      species.csv                   species_id,name
      train_labels.csv, test_labels.csv   recording_id,s0..: complete 0/1 labels
      groups.csv                    recording_id,group: recordings that share a background
      recordings.csv                recording_id,site,start,latitude,longitude,file
  reviews.csv                   verdicts of review.py, which are boxes too

The id of a recording is its path below `train` or `test` without suffix, with "/" as separator. In
recordings.csv, all columns but recording_id are optional, and cells may be empty. A row with a `file` adds a
training recording whose audio file is elsewhere; the path is relative to DATA or absolute.

Only recordings and `train_tp.csv` are required. The RFCX challenge's download has this layout.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from features.common.files import real_path
from features.data.audio import Clip, file_of
from features.data.metadata import SiteTime, read_site_times, site_of, site_time, warn_unknown_rows
from features.data.recordings import AUDIO_SUFFIXES, READABLE, find_recordings
from features.data.reviewed import reviewed_recordings
from features.data.species import species_names
from features.data.tables import (
    DatasetError,
    column_as_numbers,
    read_table,
    validate_rows,
    validate_unique,
    validate_values,
)

MAX_SPECIES_ID = 1_000_000
MAX_SECONDS, MAX_HERTZ = 1e7, 1e6  # of boxes: four months, and half of the highest sample rate
BOX_COLUMNS = ("recording_id", "species_id", "songtype_id", "t_min", "f_min", "t_max", "f_max")


@dataclass(frozen=True)
class Dataset:
    """A validated data set. The audio is not decoded yet.

    Attributes
    ----------
    name : str
        Name that was given to `load_dataset`, or the name of the folder.
    root : Path
        Folder of the data set.
    species : tuple of str
        Names of the species; "s0", "s1", ... without species.csv.
    train, test : mapping of str to Path
        Audio file of each recording id, or a part of it. Test recordings are in the order of the sample
        submission.
    tp, fp : pd.DataFrame
        Boxes with the columns `BOX_COLUMNS`, in seconds and Hz, indexed by line number in their table.
    train_labels, test_labels : np.ndarray, shape (n_recordings, n_species), or None
        Complete 0/1 labels in the order of `train` or `test`; None without the table.
    groups : np.ndarray, shape (n_train,)
        Group of each training recording.
    grouped_by : str
        What the groups are: "groups.csv", "site" without this file if the recordings come from several sites,
        else "recording".
    site_times : dict of str to SiteTime
        Site and time of recordings in recordings.csv.
    reviewed : frozenset of str
        Training recordings whose boxes are all verdicts of `review.py`.
    unscored : tuple of str
        Test recordings that `without` has removed.
    """

    name: str
    root: Path
    species: tuple[str, ...]
    train: Mapping[str, Path | Clip]
    test: Mapping[str, Path]
    tp: pd.DataFrame
    fp: pd.DataFrame
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    groups: np.ndarray
    grouped_by: str
    site_times: dict[str, SiteTime]
    reviewed: frozenset[str] = frozenset()
    unscored: tuple[str, ...] = ()

    @property
    def n_species(self) -> int:
        return len(self.species)

    def species_without_tp(self) -> list[str]:
        """Return the names of species without a TP box. No model can be trained for them."""
        seen = set(self.tp["species_id"])
        return [name for k, name in enumerate(self.species) if k not in seen]

    def site_time(self, recording_id: str, split: str) -> SiteTime:
        """Return the site and time of a recording; `split` is "train" or "test"."""
        audio = (self.train if split == "train" else self.test)[recording_id]
        return site_time(recording_id, file_of(audio), self.site_times)

    def without(self, train: Collection[str], test: Collection[str]) -> Self:
        """Return the data set without some recordings, their boxes and their labels.

        Parameters
        ----------
        train, test : collection of str
            Ids of the recordings to remove.

        Raises
        ------
        DatasetError
            No TP box is left.
        """
        in_train = np.array([r not in train for r in self.train])
        in_test = np.array([r not in test for r in self.test], bool)
        tp, fp = (boxes[~boxes["recording_id"].isin(list(train))] for boxes in (self.tp, self.fp))
        if tp.empty:
            raise DatasetError(
                f"{self.root / 'train'}: no recording with a TP box can be decoded (of {len(self.train)} "
                f"recordings); replace the files"
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


def load_dataset(root: Path, name: str | None = None, *, follow_links: bool = False) -> Dataset:
    """Return the data set in a folder, validated.

    Parameters
    ----------
    root : Path
        Folder with the layout described in `features.data.dataset`.
    name : str, optional
        Name of the data set; the default is the name of the folder.
    follow_links : bool
        Whether symbolic links may lead out of the folders of recordings.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        A file or a table does not follow the layout. The message names the file, the line, the value and the
        remedy.
    UserError
        A file is a symbolic link that leads out of its folder. For recordings, `follow_links` allows this.

    Examples
    --------
    >>> import tempfile
    >>> from features.data.synthetic import SyntheticSettings, write_dataset
    >>> settings = SyntheticSettings(n_train=4, n_test=2, duration=8.0)
    >>> root = write_dataset(Path(tempfile.mkdtemp()) / "synthetic", n_jobs=1, settings=settings)
    >>> dataset = load_dataset(root)
    >>> list(dataset.train)
    ['train0000', 'train0001', 'train0002', 'train0003']
    >>> dataset.n_species, dataset.test_labels.shape
    (24, (2, 24))
    >>> dataset.species[0]
    's0 trill 7.1 kHz'
    >>> dataset.tp.columns.tolist()
    ['recording_id', 'species_id', 'songtype_id', 't_min', 'f_min', 't_max', 'f_max']
    """
    root = real_path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give --data the folder that contains train_tp.csv")
    site_times = read_site_times(root / "recordings.csv")
    train = training_recordings(root, follow_links=follow_links)
    if not train:
        raise DatasetError(f"{root / 'train'}: contains no recordings; {READABLE}, put some there")
    submission = _score_table(root / "sample_submission.csv")
    train_truth = _score_table(root / "train_labels.csv")
    test_truth = _score_table(root / "test_labels.csv")
    species_table = root / "species.csv"
    names = species_names(species_table) if species_table.exists() else None
    tp = _boxes(root / "train_tp.csv", train)
    if tp.empty:
        raise DatasetError(f"{root / 'train_tp.csv'}: contains no boxes; add at least one TP box")
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
        validate_rows(
            boxes,
            boxes["species_id"] >= n_species,
            path=root / file,
            message=f"species_id {{species_id}} is outside 0..{n_species - 1}; correct it, or add the "
            f"species to the other tables",
        )

    test = find_recordings(root / "test", follow_links=follow_links)
    if test and submission is not None:
        test = _select(test, submission.index, table=root / "sample_submission.csv", folder=root / "test")
    warn_unknown_rows(site_times, {**train, **test}, root / "recordings.csv")
    groups, grouped_by = _groups(root / "groups.csv", train, site_times)
    train_labels = _labels(train_truth, train, root / "train_labels.csv")
    if train_labels is not None:
        _validate_agreement(tp, train_labels, recordings=train, root=root)
    species = tuple(names if names is not None else (f"s{k}" for k in range(n_species)))
    return Dataset(
        name=name or root.name,
        root=root,
        species=species,
        train=train,
        test=test,
        tp=tp,
        fp=fp,
        train_labels=train_labels,
        test_labels=_labels(test_truth, test, root / "test_labels.csv") if test else None,
        groups=groups,
        grouped_by=grouped_by,
        site_times=site_times,
        reviewed=reviewed_recordings(root / "reviews.csv", pd.concat([tp, fp]), species),
    )


def validate_boxes_begin_inside(dataset: Dataset, duration: Mapping[str, float]) -> None:
    """Raise DatasetError if a box begins at or after the end of its recording.

    Parameters
    ----------
    dataset : Dataset
    duration : mapping of str to float
        Duration of each training recording, s.
    """
    for file, boxes in (("train_tp.csv", dataset.tp), ("train_fp.csv", dataset.fp)):
        end = boxes["recording_id"].map(duration).astype(float)  # for an empty table, map returns text
        validate_rows(
            boxes.assign(end=end),
            boxes["t_min"] >= end,
            path=dataset.root / file,
            message="t_min {t_min:g} is past the end of '{recording_id}' ({end:g} s); "
            "correct or remove the box",
        )


def training_recordings(root: Path, *, follow_links: bool = False) -> dict[str, Path]:
    """Return the audio file of each training recording in a folder: those in train, then those elsewhere.

    Parameters and errors are those of `load_dataset`.
    """
    in_train = find_recordings(root / "train", follow_links=follow_links)
    return in_train | _referenced_recordings(root / "recordings.csv", in_train)


def _referenced_recordings(path: Path, in_train: Mapping[str, Path]) -> dict[str, Path]:
    """Return the audio file of each recording in recordings.csv that has one, sorted by id.

    Parameters
    ----------
    path : Path
    in_train : mapping of str to Path
        The recordings in the folder `train`, which must have other ids.
    """
    if not path.exists():
        return {}
    table = read_table(path, ("recording_id",))
    if "file" not in table:
        return {}
    table = table[table["file"] != ""].sort_values("recording_id")
    suffix = table["file"].map(lambda file: Path(file).suffix.lower())
    unreadable = ~suffix.isin(AUDIO_SUFFIXES)
    validate_values(table["file"], unreadable, path=path, problem=f"is not a recording; {READABLE}")
    validate_rows(
        table,
        table["recording_id"].isin(list(in_train)),
        path=path,
        message="recording '{recording_id}' is also in train; clear its cell in the column file, or rename "
        "one of the two",
    )
    return {r: path.parent / file for r, file in zip(table["recording_id"], table["file"], strict=True)}


def _boxes(path: Path, recordings: dict[str, Path]) -> pd.DataFrame:
    """Return a table of boxes with numeric columns."""
    table = read_table(path, BOX_COLUMNS)
    boxes = pd.DataFrame({"recording_id": table["recording_id"]})
    for column in BOX_COLUMNS[1:]:
        boxes[column] = column_as_numbers(table, column, path)
    validate_rows(
        table,
        (boxes["species_id"] % 1 != 0) | (boxes["species_id"] > MAX_SPECIES_ID),
        path=path,
        message="species_id '{species_id}' is not a species number; correct it",
    )
    boxes["species_id"] = boxes["species_id"].astype(int)
    for column, limit, unit in (("t_max", MAX_SECONDS, "s"), ("f_max", MAX_HERTZ, "Hz")):
        problem = f"is above {limit:g} {unit}; correct it"
        validate_values(table[column], boxes[column] > limit, path=path, problem=problem)
    for low, high in (("t_min", "t_max"), ("f_min", "f_max")):
        validate_rows(
            boxes,
            boxes[high] <= boxes[low],
            path=path,
            message=f"{high} {{{high}:g}} is not above {low} {{{low}:g}}; correct or remove the box",
        )
    validate_rows(
        boxes,
        ~boxes["recording_id"].isin(list(recordings)),
        path=path,
        message="recording '{recording_id}' has no audio in train; add the file or remove the box",
    )
    return boxes


def _score_table(path: Path) -> pd.DataFrame | None:
    """Return a table recording_id,s0..s{S-1} as floats, indexed by recording id; None if there is no file."""
    if not path.exists():
        return None
    table = read_table(path, ("recording_id", "s0"))
    expected = ["recording_id", *(f"s{k}" for k in range(table.shape[1] - 1))]
    if list(table.columns) != expected:
        wrong = next(name for name, want in zip(table.columns, expected, strict=True) if name != want)
        raise DatasetError(
            f"{path}: column '{wrong}' is out of order; the columns must be recording_id,s0..{expected[-1]}"
        )
    validate_unique(table, "recording_id", path)
    return pd.DataFrame(
        {name: column_as_numbers(table, name, path).to_numpy() for name in expected[1:]},
        index=pd.Index(table["recording_id"]),
    )


def _n_species(root: Path, tables: dict[str, pd.DataFrame | list[str] | None], boxes: pd.DataFrame) -> int:
    """Return the number of species in the tables or, if there are no tables, the highest species_id + 1."""
    counts = {
        file: table.shape[1] if isinstance(table, pd.DataFrame) else len(table)
        for file, table in tables.items()
        if table is not None
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{file} {count}" for file, count in counts.items())
        raise DatasetError(f"{root}: the tables differ in their number of species ({listed}); correct them")
    if counts:
        return next(iter(counts.values()))
    found, highest = boxes["species_id"].nunique(), int(boxes["species_id"].max())
    if highest > 10 * found + 10:
        raise DatasetError(
            f"{root}: the boxes have {found} species but a species_id of {highest}; number the species "
            f"from 0, or list all of them in species.csv"
        )
    return highest + 1


def _select(recordings: dict[str, Path], ids: pd.Index, *, table: Path, folder: Path) -> dict[str, Path]:
    """Return the recordings listed in a table, in its order."""
    for line, recording_id in enumerate(ids, start=2):
        if recording_id not in recordings:
            raise DatasetError(
                f"{table} line {line}: recording '{recording_id}' has no audio in {folder.name}; "
                f"add the file or remove the line"
            )
    return {recording_id: recordings[recording_id] for recording_id in ids}


def _labels(table: pd.DataFrame | None, recordings: dict[str, Path], path: Path) -> np.ndarray | None:
    """Return complete 0/1 labels in the order of `recordings`, shape (n_recordings, n_species)."""
    if table is None:
        return None
    for recording_id in recordings:
        if recording_id not in table.index:
            raise DatasetError(f"{path}: missing recording '{recording_id}'; add its line")
    labels = table.loc[list(recordings)].to_numpy()
    if not np.isin(labels, (0, 1)).all():
        row, column = np.argwhere(~np.isin(labels, (0, 1)))[0]
        raise DatasetError(
            f"{path}: recording '{list(recordings)[row]}' has label {labels[row, column]:g} for s{column}; "
            f"labels must be 0 or 1"
        )
    return labels.astype(np.int8)


def _validate_agreement(
    tp: pd.DataFrame, labels: np.ndarray, *, recordings: dict[str, Path], root: Path
) -> None:
    """Raise DatasetError if train_labels.csv has 0 for a species with a TP box in the same recording."""
    row = {recording_id: k for k, recording_id in enumerate(recordings)}
    contradicted = labels[tp["recording_id"].map(row).astype(int), tp["species_id"]] == 0
    validate_rows(
        tp,
        pd.Series(contradicted, tp.index),
        path=root / "train_tp.csv",
        message="TP box of species {species_id} in '{recording_id}', but train_labels.csv has 0; "
        "correct one of the two",
    )


def _groups(
    path: Path, recordings: Mapping[str, Path], site_times: Mapping[str, SiteTime]
) -> tuple[np.ndarray, str]:
    """Return the group of each recording, numbered from 0, shape (n_recordings,), and what groups are."""
    if not path.exists():
        site = pd.Series([site_of(recording_id, site_times) for recording_id in recordings])
        codes, sites = pd.factorize(site)
        if len(sites) > 1:
            alone = (site == "").to_numpy()  # a recording without a site is a group of its own
            codes[alone] = len(sites) + np.arange(alone.sum())
            return np.unique(codes, return_inverse=True)[1], "site"
        return np.arange(len(recordings)), "recording"
    table = read_table(path, ("recording_id", "group"))
    validate_unique(table, "recording_id", path)
    validate_rows(
        table, table["group"] == "", path=path, message="recording '{recording_id}' has no group; add one"
    )
    group = table.set_index("recording_id")["group"]
    for recording_id in recordings:
        if recording_id not in group.index:
            raise DatasetError(f"{path}: missing recording '{recording_id}'; add its line")
    codes, _ = pd.factorize(group[list(recordings)])
    return np.asarray(codes), "groups.csv"
