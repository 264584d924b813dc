"""A data set made ready for models: windows, labels, folds, and the truth that scores."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from features.common.errors import UserError
from features.common.parallel import in_parallel
from features.data.dataset import Dataset, check_boxes_begin_inside
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from features.frames.store import VERSION as FEATURES_VERSION
from features.frames.store import FrameStore
from features.frames.windows import WindowSettings, label_windows, window_starts
from models.folds import make_folds
from pipelines.core.cli import open_dataset
from pipelines.core.failed_recordings import write_failed

PerRecording = Callable[[Frames, np.ndarray, int], np.ndarray]
"""Of a recording's frames, its windows' first frames and their length, to rows of numbers."""


def presence(dataset: Dataset) -> np.ndarray:
    """Return (n_train, S) what is known of each training recording: 1, 0, or nan for unknown.

    The complete truth where there is one; else 1 where a TP box shows the species, and 0 where FP
    boxes and no TP box do.
    """
    if dataset.train_labels is not None:
        return dataset.train_labels.astype(float)
    row = {recording_id: k for k, recording_id in enumerate(dataset.train)}
    known = np.full((len(row), dataset.n_species), np.nan)
    for boxes, value in ((dataset.fp, 0.0), (dataset.tp, 1.0)):
        known[boxes["recording_id"].map(row).astype(int), boxes["species_id"]] = value
    return known


@dataclass(frozen=True)
class Task:
    """A data set made ready: frames on disk, windows, labels, folds, and the truth that scores."""

    dataset: Dataset
    results: Path
    store: FrameStore
    window: WindowSettings
    metric: str
    seed: int
    jobs: int
    n_folds: int

    @property
    def length(self) -> int:
        """Frames of a window."""
        return self.window.in_frames(self.store.settings.frame_rate)[0]

    @property
    def hop(self) -> int:
        """Frames from window to window."""
        return self.window.in_frames(self.store.settings.frame_rate)[1]

    @cached_property
    def known(self) -> np.ndarray:
        """(n_train, S) what is known of each training recording: 1, 0, nan."""
        return presence(self.dataset)

    @cached_property
    def truth(self) -> np.ndarray:
        """(n_train, S) what scores: the complete truth, or unknown counted as absent."""
        return np.nan_to_num(self.known)

    @cached_property
    def fold(self) -> np.ndarray:
        """(n_train,) fold of each training recording."""
        return make_folds(self.truth, self.dataset.groups, self.n_folds, self.seed)

    def starts(self, split: str) -> list[np.ndarray]:
        """Return for each recording of a split the first frames of its windows."""
        return self._starts[split]

    @cached_property
    def _extents(self) -> dict[str, list[tuple[int, float]]]:
        recordings = {"train": self.dataset.train, "test": self.dataset.test}
        return {split: [self.store.extent(r, split) for r in ids] for split, ids in recordings.items()}

    @cached_property
    def _starts(self) -> dict[str, list[np.ndarray]]:
        return {
            split: [window_starts(n_frames, self.length, self.hop) for n_frames, _ in extents]
            for split, extents in self._extents.items()
        }

    def first_windows(self, split: str) -> np.ndarray:
        """Return the (n_recordings,) first window of each recording, the windows side by side."""
        counts = [len(starts) for starts in self.starts(split)]
        return np.cumsum([0, *counts[:-1]])

    def per_window(self, of_recording: np.ndarray) -> np.ndarray:
        """Return the values of the training recordings, repeated for each of their windows."""
        return np.repeat(of_recording, [len(starts) for starts in self.starts("train")], axis=0)

    @cached_property
    def labels(self) -> np.ndarray:
        """(n_windows, S) labels of the training windows: 1, 0, nan."""
        dataset, rate = self.dataset, self.store.settings.frame_rate
        extents = zip(dataset.train, self._extents["train"], strict=True)
        duration = {recording_id: seconds for recording_id, (_, seconds) in extents}
        check_boxes_begin_inside(dataset, duration)
        tp, fp = (dict(list(boxes.groupby("recording_id"))) for boxes in (dataset.tp, dataset.fp))
        none = dataset.tp.iloc[:0]
        absent = np.zeros((len(duration), dataset.n_species), bool)
        if dataset.train_labels is not None:
            absent = dataset.train_labels == 0
        parts = []
        for k, (recording_id, starts) in enumerate(zip(dataset.train, self.starts("train"), strict=True)):
            start = starts / rate
            end = start + self.length / rate
            end[-1] = duration[recording_id]  # what is left of a frame belongs to the last window
            own = tp.get(recording_id, none), fp.get(recording_id, none)
            parts.append(label_windows(start, end, *own, absent[k], self.window.min_overlap))
        return np.concatenate(parts)

    def config(self) -> dict[str, Any]:
        """Return the settings that the scores hang on, for a run's config.json."""
        return {
            "window": asdict(self.window),
            "spectral": asdict(self.store.settings),
            "features_version": FEATURES_VERSION,
            "metric": self.metric,
            "folds": self.n_folds,
        }

    def compute(self, split: str, function: PerRecording, description: str) -> np.ndarray:
        """Return the rows that `function` gives for the recordings of a split, one below the other."""
        ids = list(self.dataset.train if split == "train" else self.dataset.test)
        arguments = [
            (self.store, recording_id, split, function, starts, self.length)
            for recording_id, starts in zip(ids, self.starts(split), strict=True)
        ]
        parts = in_parallel(_compute_one, arguments, self.jobs)
        progress = tqdm(parts, desc=f"{description} of {split}", total=len(ids), unit="recording")
        return _concatenate(progress, len(ids))


def _concatenate(parts: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Return `n` arrays one below the other, without ever holding them twice.

    The first tells how many rows to make room for; they are more where recordings are longer.
    """
    rows, filled = np.empty(0), 0
    for k, part in enumerate(parts):
        if k == 0:
            rows = np.empty((len(part) * n, *part.shape[1:]), part.dtype)
        if filled + len(part) > len(rows):
            rows.resize((2 * len(rows) + len(part), *rows.shape[1:]), refcheck=False)
        rows[filled : filled + len(part)] = part
        filled += len(part)
    return rows[:filled]


def load_task(args: argparse.Namespace) -> Task:
    """Return the task of a training command, its frames computed and its oddities said."""
    window = WindowSettings(length=args.window, hop=args.hop)
    dataset, results = open_dataset(args)
    task = Task(
        dataset=dataset,
        results=results,
        store=FrameStore(results / "frames", SpectralSettings()),
        window=window,
        metric=args.metric,
        seed=args.seed,
        jobs=args.jobs,
        n_folds=args.folds,
    )
    # Wrong flags are said before anything is computed.
    frame = 1 / task.store.settings.frame_rate
    if task.length < 2 or task.hop < 1:
        raise UserError(
            f"windows of {window.length:g} s every {window.hop:g} s; frames are {frame:g} s apart, give more"
        )
    _ = task.fold
    print(
        f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test recordings, "
        f"{dataset.n_species} species, {len(dataset.tp)} TP and {len(dataset.fp)} FP boxes"
    )
    unseen = dataset.species_without_tp()
    if unseen:
        print(f"no TP box shows {len(unseen)} species, so they cannot be learned: {', '.join(unseen)}")
    failed = {
        split: task.store.compute(recordings, split, args.jobs, args.strict)
        for split, recordings in (("train", dataset.train), ("test", dataset.test))
    }
    write_failed(results, failed)
    if any(failed.values()):
        task = replace(task, dataset=dataset.without(**failed))
        _ = task.fold  # of fewer recordings
    _ = task.labels  # so that a box beyond a recording's end is said before anything is fitted
    return task


def _compute_one(
    store: FrameStore, recording_id: str, split: str, function: PerRecording, starts: np.ndarray, length: int
) -> np.ndarray:
    return function(store.load(recording_id, split), starts, length)
