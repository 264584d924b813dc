"""A data set prepared for training: frames on disk, windows, labels, folds and truth."""

import argparse
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from features.common.errors import UserError
from features.common.files import remove_unfinished
from features.common.parallel import on_cluster, on_workers, shared
from features.data.audio import Clip, warn_low_sample_rates
from features.data.dataset import Dataset, validate_boxes_begin_inside
from features.data.identity import validate_separate, validate_unlabelled
from features.data.tables import DatasetError, read_table, validate_values
from features.frames.frames import Frames
from features.frames.segments import divide, in_segments
from features.frames.spectral import SpectralSettings
from features.frames.store import VERSION as FEATURES_VERSION
from features.frames.store import Extent, FrameStore
from features.frames.windows import WindowSettings, label_windows, window_starts
from models.folds import make_folds
from pipelines.core.cli import DEFAULT_FOLDS, open_dataset
from pipelines.core.cluster import validate_shared_file
from pipelines.core.evaluation import selection_metric
from pipelines.core.failed_recordings import write_failed
from pipelines.core.new_recordings import recordings_of
from pipelines.core.truth import presence, training_truth

RowsOfSegment = Callable[[Frames, np.ndarray, int], np.ndarray]
"""Function that returns one row per window of a segment, or a single row. Its arguments are the frames of the
segment, the first frame of each window, and the window length in frames."""
UNLABELLED = "unlabelled"  # split of the recordings that only self-training uses
SHARED = "shared"  # folder in the results with arrays for the workers of a cluster, while a command runs
MAX_NAMED = 3  # number of recordings that an error message lists


@dataclass(frozen=True)
class Task:
    """A data set prepared for training.

    Attributes
    ----------
    dataset : Dataset without the recordings that cannot be read.
    results : results folder.
    store : frames of all recordings.
    window : window length and hop.
    metric : name of the metric used for selections.
    seed : random seed.
    jobs : number of cores to use.
    fold : (n_train,) fold of each training recording, from 0.
    holdout : (n_train,) bool, training recordings that the out-of-fold metrics are computed on.
    unlabelled : audio file of each recording that only self-training uses.

    Notes
    -----
    Arrays "of all windows" have the windows of the training recordings first, then those of the unlabelled
    recordings, which are in no fold.
    """

    dataset: Dataset
    results: Path
    store: FrameStore
    window: WindowSettings
    metric: str
    seed: int
    jobs: int
    fold: np.ndarray
    holdout: np.ndarray
    unlabelled: Mapping[str, Path] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def jobs_per_fit(self) -> int:
        """Number of cores for one fit of a fold's model."""
        return 1 if on_cluster() else self.jobs  # a worker of a cluster uses one core for each task

    @property
    def length(self) -> int:
        """Window length in frames."""
        return self.window.in_frames(self.store.settings.frame_rate)[0]

    @property
    def hop(self) -> int:
        """Window hop in frames."""
        return self.window.in_frames(self.store.settings.frame_rate)[1]

    @cached_property
    def known(self) -> np.ndarray:
        """Presence of the species in the training recordings, (n_train, n_species): 1, 0, nan for unknown."""
        return presence(self.dataset)

    @cached_property
    def truth(self) -> np.ndarray:
        """Truth of the training recordings, (n_train, n_species): 1, or 0 for absent and unknown species."""
        return training_truth(self.dataset)

    def starts(self, split: str) -> list[np.ndarray]:
        """Return the first frame of each window, as one array per segment of a split.

        Each training recording is one segment. A test or unlabelled recording that is longer than all
        training recordings has several segments; frames count from the start of the segment.
        """
        return self._starts[split]

    def extents(self, split: str) -> dict[str, Extent]:
        """Return the size of each recording of a split."""
        return self._extents[split]

    @cached_property
    def longest(self) -> int:
        """Number of frames of the longest training recording."""
        return max(extent.n_frames for extent in self.extents("train").values())

    @cached_property
    def _extents(self) -> dict[str, dict[str, Extent]]:
        return {
            split: {r: self.store.extent(r, split) for r in self._recordings(split)}
            for split in ("train", "test", UNLABELLED)
        }

    def _recordings(self, split: str) -> Collection[str]:
        return {"train": self.dataset.train, "test": self.dataset.test, UNLABELLED: self.unlabelled}[split]

    @cached_property
    def _starts(self) -> dict[str, list[np.ndarray]]:
        return {
            split: [
                window_starts(len(segment), self.length, self.hop)
                for extent in extents.values()
                for segment in divide(extent.n_frames, self.longest)
            ]
            for split, extents in self._extents.items()
        }

    def first_windows(self, split: str) -> np.ndarray:
        """Return the index of each segment's first window among all windows of a split, (n_segments,)."""
        counts = [len(starts) for starts in self.starts(split)]
        return np.cumsum([0, *counts[:-1]])

    def highest_of_recording(self, P: np.ndarray) -> np.ndarray:
        """Return the highest score of each test recording, (n_test, n_species), from scores P of segments."""
        counts = [len(divide(extent.n_frames, self.longest)) for extent in self.extents("test").values()]
        return np.maximum.reduceat(P, np.cumsum([0, *counts[:-1]]), axis=0)

    def per_window(self, of_recording: np.ndarray) -> np.ndarray:
        """Return an array of values per window, from an array of values per training recording."""
        return np.repeat(of_recording, [len(starts) for starts in self.starts("train")], axis=0)

    @cached_property
    def fold_of_window(self) -> np.ndarray:
        """Fold of all windows, (n_windows,); -1 for those of unlabelled recordings."""
        return self._of_all_windows(self.per_window(self.fold), -1)

    @cached_property
    def group_of_window(self) -> np.ndarray:
        """Group of all windows, (n_windows,); -1 for those of unlabelled recordings."""
        return self._of_all_windows(self.per_window(self.dataset.groups), -1)

    def _of_all_windows(self, of_train: np.ndarray, of_unlabelled: float) -> np.ndarray:
        """Return the values of training windows, and after them one value for each unlabelled window."""
        n = sum(map(len, self.starts(UNLABELLED)))
        return np.concatenate([of_train, np.full((n, *of_train.shape[1:]), of_unlabelled, of_train.dtype)])

    @cached_property
    def used(self) -> np.ndarray:
        """Which windows models are trained on, whatever their labels are, (n_windows,) bool.

        A window without any known label counts as weakly negative for all species. In a recording with only
        verdicts of `review.py`, nobody has looked for the other species, and a model may have chosen the
        recording because they call there. Its windows without a label are therefore left out, unless most
        recordings are like that.
        """
        annotated = np.array(
            [recording_id not in self.dataset.reviewed for recording_id in self.dataset.train]
        )
        if annotated.mean() < 0.5:
            annotated[:] = True
        used = self._of_all_windows(self.per_window(annotated), False)
        return used | ~np.isnan(self.labels).all(axis=1)

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels of all windows, shape (n_windows, n_species): 1, 0, or nan for unknown."""
        dataset, rate = self.dataset, self.store.settings.frame_rate
        tp, fp = (dict(list(boxes.groupby("recording_id"))) for boxes in (dataset.tp, dataset.fp))
        none = dataset.tp.iloc[:0]
        absent = np.zeros((len(dataset.train), dataset.n_species), bool)
        if dataset.train_labels is not None:
            absent = dataset.train_labels == 0
        parts, duration = [], self.extents("train")
        for k, (recording_id, starts) in enumerate(zip(dataset.train, self.starts("train"), strict=True)):
            start = starts / rate
            end = start + self.length / rate
            end[-1] = duration[recording_id].duration  # the last window reaches the end of the recording
            own = tp.get(recording_id, none), fp.get(recording_id, none)
            parts.append(
                label_windows(
                    start, end, tp=own[0], fp=own[1], absent=absent[k], min_overlap=self.window.min_overlap
                )
            )
        return self._of_all_windows(np.concatenate(parts), np.nan)

    def share(self, array: np.ndarray) -> np.ndarray:
        """Return an array as an argument for `on_workers`; see `features.common.parallel.shared`."""
        return shared(array, self.results / SHARED)

    def remove_temporary(self) -> None:
        """Remove the files of `share`, and unfinished files of workers or commands that were killed."""
        shutil.rmtree(self.results / SHARED, ignore_errors=True)
        remove_unfinished(self.results)

    def config(self) -> dict[str, Any]:
        """Return the settings that affect the scores, for a run's config.json."""
        return {
            "longest": self.longest,
            "sample_rate": self.sample_rate,
            "window": asdict(self.window),
            "spectral": asdict(self.store.settings),
            "features_version": FEATURES_VERSION,
            "metric": self.metric,
            "folds": self.n_folds,
        }

    @cached_property
    def sample_rate(self) -> int:
        """Sample rate up to which the training recordings were used, Hz.

        It is their median sample rate, or that of the frames if this is lower.
        """
        rates = sorted(extent.sr for extent in self.extents("train").values())
        return min(rates[(len(rates) - 1) // 2], self.store.settings.sr)

    def compute(self, split: str, function: RowsOfSegment, description: str) -> np.ndarray:
        """Return the rows that `function` returns for each segment of a split, concatenated.

        Parameters
        ----------
        split : "train", "test" or "unlabelled".
        function : called with a segment's frames, the first frames of its windows, and their length.
        description : text of the progress bar.
        """
        return self._compute((split,), function, description)

    def compute_all(self, function: RowsOfSegment, description: str) -> np.ndarray:
        """Return the rows of all windows, as `compute` does."""
        splits = ("train", UNLABELLED) if self.unlabelled else ("train",)
        return self._compute(splits, function, description)

    def _compute(self, splits: Sequence[str], function: RowsOfSegment, description: str) -> np.ndarray:
        parts = (self._rows(split, function, description) for split in splits)
        return _concatenate(chain.from_iterable(parts), sum(len(self._recordings(s)) for s in splits))

    def _rows(self, split: str, function: RowsOfSegment, description: str) -> Iterable[np.ndarray]:
        """Return the rows of each recording of a split, and show the progress."""
        ids = list(self._recordings(split))
        rows = _Rows(self.store, split, function, length=self.length, hop=self.hop, longest=self.longest)
        parts = on_workers(rows, ((recording_id,) for recording_id in ids), self.jobs)
        return tqdm(parts, desc=f"{description} of {split}", total=len(ids), unit="recording")


@dataclass(frozen=True)
class _Rows:
    """A function that returns the rows of a recording in the store, for `Task.compute`."""

    store: FrameStore
    split: str
    function: RowsOfSegment
    length: int
    hop: int
    longest: int

    def __call__(self, recording_id: str) -> np.ndarray:
        packed = self.store.packed(recording_id, self.split)
        parts = [
            self.function(segment, window_starts(len(segment), self.length, self.hop), self.length)
            for _, segment in in_segments(packed, self.longest, self.store.settings)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _concatenate(parts: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Return `n` arrays concatenated along the first axis, without a second copy of all in memory."""
    rows, filled = np.empty(0), 0
    for k, part in enumerate(parts):
        if k == 0:  # enough if all arrays have the same length; otherwise it grows
            rows = np.empty((len(part) * n, *part.shape[1:]), part.dtype)
        if filled + len(part) > len(rows):
            rows.resize((2 * len(rows) + len(part), *rows.shape[1:]), refcheck=False)
        rows[filled : filled + len(part)] = part
        filled += len(part)
    return rows[:filled]


def load_task(args: argparse.Namespace) -> Task:
    """Return the task of a training command, with the frames of all recordings computed.

    Recordings that cannot be read are listed in `failed_recordings.csv` and left out.

    Raises
    ------
    UserError
        The data set or a flag is invalid, or the data set is too small to train and score a model.
    AudioError
        A recording cannot be read and `--strict` is given.
    """
    window = WindowSettings(length=args.window, hop=args.hop)
    dataset, results = open_dataset(args)
    store = FrameStore(results / "frames", SpectralSettings())
    # Flags are validated before anything is computed.
    validate_window(window, store.settings.frame_rate)
    fold = _folds(dataset, args)
    holdout = _holdout(dataset, args.holdout)
    print(
        f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test recordings, "
        f"{dataset.n_species} species, {len(dataset.tp)} TP and {len(dataset.fp)} FP boxes"
    )
    clips = [audio for audio in dataset.train.values() if isinstance(audio, Clip)]
    if clips:
        print(
            f"{clips[0].path.name} is divided into {len(clips)} clips of {clips[0].end:.3g} s, which act as "
            f"recordings; they share a place and calls, so the scores are too high for other places"
        )
    if dataset.grouped_by == "site":
        print("folds group recordings by site; write groups.csv to group them differently")
    without_tp = dataset.species_without_tp()
    if without_tp:
        print(f"{len(without_tp)} species have no TP box and cannot be learned: {', '.join(without_tp)}")
    unlabelled = _unlabelled(args, dataset)
    failed = {
        split: store.compute(recordings, split, args.jobs, strict=args.strict)
        for split, recordings in (
            ("train", dataset.train),
            ("test", dataset.test),
            (UNLABELLED, unlabelled),
        )
    }
    write_failed(results, failed)
    unlabelled = {r: file for r, file in unlabelled.items() if r not in failed[UNLABELLED]}
    if failed["train"] or failed["test"]:
        holdout = holdout[[recording_id not in failed["train"] for recording_id in dataset.train]]
        dataset = dataset.without(train=failed["train"], test=failed["test"])
        fold = _folds(dataset, args)
    validate_separate(dataset)
    n_folds = int(fold.max()) + 1
    if args.folds is None and n_folds < DEFAULT_FOLDS:
        what = "recordings" if dataset.grouped_by == "recording" else "groups"
        print(f"{n_folds} {what}, so {n_folds} folds")
    task = Task(
        dataset=dataset,
        results=results,
        store=store,
        window=window,
        metric=selection_metric(args.metric, dataset),
        seed=args.seed,
        jobs=args.jobs,
        fold=fold,
        holdout=holdout,
        unlabelled=unlabelled,
    )
    validate_boxes_begin_inside(dataset, {r: e.duration for r, e in task.extents("train").items()})
    rates = {recording_id: extent.sr for recording_id, extent in task.extents("test").items()}
    warn_low_sample_rates(rates, task.sample_rate)
    return task


def _unlabelled(args: argparse.Namespace, dataset: Dataset) -> dict[str, Path]:
    """Return the audio file of each unlabelled recording; DatasetError if it is a training recording."""
    if not getattr(args, "unlabelled", None):
        return {}
    recordings, _ = recordings_of([args.unlabelled], follow_links=args.follow_links)
    validate_shared_file(next(iter(recordings.values())))
    validate_unlabelled(recordings, dataset)
    print(f"{args.unlabelled}: {len(recordings)} unlabelled recordings")
    return recordings


def _folds(dataset: Dataset, args: argparse.Namespace) -> np.ndarray:
    """Return the fold of each training recording; DatasetError if a model could not be trained and scored."""
    truth = training_truth(dataset)
    n_folds = args.folds
    if n_folds is None:
        n_folds = min(DEFAULT_FOLDS, max(len(np.unique(dataset.groups)), 2))
    fold = make_folds(truth, dataset.groups, n_folds, seed=args.seed)
    _validate_contrast(dataset, truth)
    validate_boxes_in_two_folds(dataset, fold)
    return fold


def _holdout(dataset: Dataset, file: Path | None) -> np.ndarray:
    """Return which training recordings are listed in a table, (n_train,) bool; all without a table.

    Raises
    ------
    DatasetError
        The table lists a recording that is not a training recording, or none with a species.
    """
    ids = list(dataset.train)
    if file is None:
        return np.ones(len(ids), bool)
    listed = read_table(file, ("recording_id",))["recording_id"]
    validate_values(listed, ~listed.isin(ids), path=file, problem="is not a training recording; remove it")
    holdout = np.isin(ids, listed)
    if not training_truth(dataset)[holdout].any():
        raise DatasetError(f"{file}: none of its recordings has a species; add recordings with TP boxes")
    return holdout


def _validate_contrast(dataset: Dataset, truth: np.ndarray) -> None:
    """Raise DatasetError if each species is present in all training recordings or in none.

    Unknown windows count as absent in training, so a species needs no FP boxes. But calibration, thresholds
    and prevalence need recordings with and without a species.
    """
    present = truth.any(axis=0)
    if truth[:, present].all():
        names = ", ".join(np.array(dataset.species)[present])
        raise DatasetError(
            f"{dataset.root / 'train'}: every recording contains {names}; add recordings without "
            f"{'it' if present.sum() == 1 else 'one of them'} (FP boxes in these recordings are not enough)"
        )


def validate_boxes_in_two_folds(dataset: Dataset, fold: np.ndarray) -> None:
    """Raise DatasetError if one fold has all TP boxes, because its model would be trained without any."""
    ids = dataset.tp["recording_id"].unique()
    folds = pd.Series(fold, index=list(dataset.train))[ids]
    if (folds == folds.iloc[0]).all():
        named = ", ".join(ids[:MAX_NAMED]) + (", ..." if len(ids) > MAX_NAMED else "")
        raise DatasetError(
            f"{dataset.root / 'train_tp.csv'}: all TP boxes are in recordings of one fold ({named}), so a "
            f"model of the other folds would have none; add TP boxes in other recordings or groups"
        )


def validate_window(window: WindowSettings, frame_rate: float) -> None:
    """Raise UserError if a window has fewer than two frames, or a hop has none."""
    length, hop = window.in_frames(frame_rate)
    if length < 2 or hop < 1:
        raise UserError(
            f"window of {window.length:g} s with a hop of {window.hop:g} s is too short; a frame is "
            f"{1 / frame_rate:g} s, give a window of at least 2 frames and a hop of at least 1"
        )
