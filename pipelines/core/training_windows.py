"""Feature table of the training windows: for each fold, the rows to fit a model on and the rows to score."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from tqdm import tqdm

from features.columns.block import TrainingBoxes
from features.columns.sequences import FRAMES_PER_STEP
from features.columns.window_features import WindowFeatures
from features.common.parallel import on_workers
from features.frames.frames import Frames, concatenate, overlay
from features.frames.store import FrameStore
from features.frames.windows import overlay_labels
from models.folds import Fold
from pipelines.core.task import Task

N_OVERLAYS = 4  # per window with a call
MAX_LOADED = 64  # number of recordings whose frames are kept in memory
MAX_TAUGHT = 100_000  # windows whose scores can become soft labels of a fold; their columns are in memory
MAX_OVERLAYS = 8192  # in total; with many calls, fewer overlays per call are enough


@dataclass(frozen=True)
class TrainingWindows:
    """The feature table of the training windows of a task, for models on tabular data.

    Each window is measured once. The columns of a fold are then computed with bands and templates from the
    boxes of the other folds, so that a model uses no information from the recordings that it scores.

    The model of a fold is trained on windows outside the fold, of three kinds: windows with a known label,
    overlays, and unlabelled windows, as many as the first two kinds together. In an overlay, a window with a
    call is mixed into a window of the same fold. Each band takes the louder of the two.

    Attributes
    ----------
    task : the task.
    n_overlays : overlays per window with a call.
    """

    task: Task
    n_overlays: int = N_OVERLAYS

    @cached_property
    def features(self) -> WindowFeatures:
        """The columns fitted on all boxes, for new recordings."""
        task, tp = self.task, self.task.dataset.tp
        row = {recording_id: k for k, recording_id in enumerate(task.dataset.train)}
        recording = tp["recording_id"].map(row).to_numpy(int)
        boxes = TrainingBoxes(
            boxes=tp,
            fold=task.fold[recording],
            group=task.dataset.groups[recording],
            n_species=task.dataset.n_species,
            n_folds=task.n_folds,
            load=lambda recording_id: task.store.load(recording_id, "train"),
            seed=task.seed,
        )
        return WindowFeatures.fit(task.store.settings, boxes)

    def fold(self, k: int, Y: np.ndarray | None = None, held: np.ndarray | None = None) -> Fold:
        """Return the training examples outside fold `k`, and windows for their model to score.

        Parameters
        ----------
        k : number of the fold.
        Y : (n_windows, n_species) labels for the model of the fold; the default is the labels of the task.
        held : indices of the windows to score; the default is the windows of the fold.
        """
        inside = self.task.fold_of_window == k
        held = np.flatnonzero(inside) if held is None else held
        X, labels = self._examples(self.task.labels if Y is None else Y, ~inside, self.features.outside(k))
        return Fold(X, labels, held, self.task.share(self.columns(k, held)))

    def columns(self, k: int, windows: np.ndarray) -> np.ndarray:
        """Return the columns of windows for the model of fold `k`, (n, n_columns)."""
        groups = self.task.group_of_window[windows, None]
        return self.features.outside(k).columns(self._measured[windows], groups)

    def whole(self, Y: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns and labels of the training examples of all folds.

        Parameters
        ----------
        Y : (n_windows, n_species) labels for the model of all folds; the default is the labels of the task.
        """
        Y = self.task.labels if Y is None else Y
        return self._examples(Y, np.ones(len(Y), bool), self.features)

    def to_teach(self, k: int) -> np.ndarray:
        """Return the indices of windows outside fold `k` whose scores can become soft labels.

        They are those with an unknown label, or a random draw of `MAX_TAUGHT` of them.
        """
        outside = (self.task.fold_of_window != k) & np.isnan(self.task.labels).any(axis=1)
        drawn = np.random.default_rng(self.task.seed).permutation(len(outside))  # the same in all folds
        return np.sort(drawn[outside[drawn]][:MAX_TAUGHT])

    def _examples(
        self, Y: np.ndarray, outside: np.ndarray, features: WindowFeatures
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns and labels of the training examples from the windows in the mask `outside`."""
        used = outside & (self.task.used | ~np.isnan(Y).all(axis=1))
        kept = outside[self._pairs[:, 0]]  # both windows of a pair are in one fold
        pairs = self._pairs[kept]
        plain = self._draw(Y, used, len(pairs))
        windows = np.concatenate([np.stack([plain, plain], axis=1), pairs])
        measured = np.concatenate([self._measured[plain], self._measured_overlays[kept]])
        labels = np.concatenate([Y[plain], overlay_labels(Y[pairs[:, 0]], Y[pairs[:, 1]])])
        X = features.columns(measured, self.task.group_of_window[windows])
        return self.task.share(X), self.task.share(labels)

    def _draw(self, Y: np.ndarray, used: np.ndarray, n_overlays: int) -> np.ndarray:
        """Return the labelled windows in `used`, and a random draw of unlabelled ones.

        The number of unlabelled windows is the number of labelled ones plus `n_overlays`, or all there are if
        fewer. Most windows have no label (in RFCX, 60 for each labelled window), and each adds little.
        """
        known = ~np.isnan(Y).all(axis=1)
        labelled, others = np.flatnonzero(known & used), np.flatnonzero(~known & used)
        drawn = np.random.default_rng(self.task.seed).permutation(others)[: len(labelled) + n_overlays]
        return np.sort(np.concatenate([labelled, drawn]))

    @cached_property
    def _measured(self) -> np.ndarray:
        """Measures of all windows, (n_windows, n_measures)."""
        return self.task.compute_all(self.features.measure, "columns")

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Two windows per overlay, (n_overlays, 2): one with a call, and the one that it is mixed into."""
        rng = np.random.default_rng(self.task.seed)
        with_call = rng.permutation(np.flatnonzero((self.task.labels == 1).any(axis=1)))
        call = np.sort(np.resize(with_call, min(self.n_overlays * len(with_call), MAX_OVERLAYS)))
        place = np.empty(len(call), int)
        for k in range(self.task.n_folds):
            in_fold = self.task.fold_of_window[call] == k
            places = np.flatnonzero((self.task.fold_of_window == k) & self.task.used)
            place[in_fold] = rng.choice(places, in_fold.sum())
        return np.stack([call, place], axis=1)

    @cached_property
    def _measure_overlays(self) -> "_MeasureOverlays":
        """Function that returns the measures of overlays."""
        return _MeasureOverlays(
            features=self.features,
            store=self.task.store,
            ids=list(self.task.dataset.train),
            recording=self.task.per_window(np.arange(len(self.task.fold))),
            starts=np.concatenate(self.task.starts("train")),
            length=self.task.length,
        )

    @cached_property
    def _measured_overlays(self) -> np.ndarray:
        """Measures of the overlays, (n_overlays, n_measures)."""
        recording = self.task.per_window(np.arange(len(self.task.fold)))
        calls = recording[self._pairs[:, 0]]
        # Fold by fold, because the other windows of the pairs are in recordings of the same fold.
        order = np.argsort(self.task.fold, kind="stable")
        rows = [np.flatnonzero(calls == r) for r in order[np.isin(order, calls)]]
        parts = on_workers(
            self._measure_overlays, ((self._pairs[of_call],) for of_call in rows), self.task.jobs
        )
        measured = np.concatenate(
            [self._measured[:0], *tqdm(parts, desc="overlays", total=len(rows), unit="recording")]
        )
        measured[np.concatenate([np.zeros(0, int), *rows])] = measured.copy()
        return measured


@dataclass(frozen=True)
class _MeasureOverlays:
    """A function that returns the measures of overlays.

    Attributes
    ----------
    features : what to measure.
    store : frames of the training recordings.
    ids : id of each training recording.
    recording : (n_windows,) training recording of each window.
    starts : (n_windows,) first frame of each window.
    length : window length in frames.
    """

    features: WindowFeatures
    store: FrameStore
    ids: list[str]
    recording: np.ndarray
    starts: np.ndarray
    length: int

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling, without the frames in memory."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _frames(self) -> Callable[[int], Frames]:
        """Function that returns the frames of a training recording, given its index."""
        return lru_cache(MAX_LOADED)(lambda k: self.store.load(self.ids[k], "train"))

    def __call__(self, pairs: np.ndarray) -> np.ndarray:
        """Return the measures of pairs whose calls are all in one recording, (n_pairs, n_measures)."""
        reach, starts = self.features.reach, self.starts
        source = self._frames(self.recording[pairs[0, 0]])
        # Templates are correlated in steps of two frames. An excerpt must therefore start at a step boundary
        # of the call's recording and have an even number of frames.
        before = reach + (starts[pairs[:, 0]] - reach) % FRAMES_PER_STEP
        n_frames = self.length + 2 * (reach + FRAMES_PER_STEP)
        n_frames += n_frames % FRAMES_PER_STEP
        parts = []
        for (call, place), margin in zip(pairs, before, strict=True):
            target = self._frames(self.recording[place])
            parts.append(
                overlay(
                    source.excerpt(starts[call] - margin, n_frames),
                    target.excerpt(starts[place] - margin, n_frames),
                )
            )
        # Measuring all excerpts together is faster than one by one. The margins separate their windows.
        first = before + n_frames * np.arange(len(parts))
        return self.features.measure(concatenate(parts), first, self.length)
