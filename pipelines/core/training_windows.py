"""What the GBM trains on: described windows, and calls laid over other places; a fold knows only its own."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from features.columns.sequences import FRAMES_PER_STEP
from features.columns.species_bands import species_bands
from features.columns.templates import Templates, cut_templates
from features.columns.window_features import Descriptor
from features.common.parallel import in_parallel
from features.frames.frames import concatenate, overlay
from features.frames.windows import overlay_labels
from models.folds import Fold
from pipelines.core.task import Task

N_OVERLAYS = 4  # of each window that shows a species,
MOST_OVERLAYS = 8192  # but no more in all: where calls are many, each needs fewer
LEAST_DRAWN = 6  # templates of a species; the best of fewer tells more of their places than of the species


@dataclass(frozen=True)
class Examples:
    """The training windows of a task, described, and what each fold may know of them.

    All is measured once, with the bands and templates of all boxes; from that a fold draws the columns
    that the boxes of its training recordings give. An overlay's two windows are of one fold, so that it is
    of that fold, too.
    """

    task: Task
    n_overlays: int = N_OVERLAYS

    @property
    def descriptor(self) -> Descriptor:
        """What the whole's columns are described by, and new recordings."""
        return self._descriptor(self.task.n_folds)

    def fold(self, k: int) -> Fold:
        """Return the examples outside fold `k`, and its windows as those examples let see them."""
        X, Y = self._outside(k)
        held = np.flatnonzero(self._fold_of_window == k)
        usable = self.task.fold[self._origin] != k
        return Fold(X, Y, held, self._descriptor(k).columns(self._windows[held], usable))

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns and labels of all examples."""
        return self._outside(self.task.n_folds)

    def _outside(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns and labels of the examples outside fold `k`.

        No example uses a template of its own recording, or of one that shares its background: a call finds
        itself there, as no call of a new recording will.
        """
        Y, groups = self.task.labels, self.task.dataset.groups
        outside = self._fold_of_window[self._pairs[:, 0]] != k
        laid = self._pairs[outside]
        plain = self._drawn(k, len(laid))
        windows = np.concatenate([np.stack([plain, plain], axis=1), laid])
        foreign = (self.task.per_window(groups)[windows][:, :, None] != groups[self._origin]).all(axis=1)
        usable = foreign & (self.task.fold[self._origin] != k)
        measured = np.concatenate([self._windows[plain], self._overlays[outside]])
        labels = np.concatenate([Y[plain], overlay_labels(Y[laid[:, 0]], Y[laid[:, 1]])])
        return self._descriptor(k).columns(measured, usable), labels

    def _descriptor(self, k: int) -> Descriptor:
        """Return what the boxes outside fold `k` let describe.

        Of a species' templates those of a group are not usable for its own windows, nor those of two groups
        for an overlay. So many fewer are drawn for every window, lest their number tell the group.
        """
        task, (bands, band_of), species = self.task, self._bands, self._templates.species
        n_drawn = np.zeros(task.dataset.n_species, int)
        for s in range(len(n_drawn)):
            own = task.dataset.groups[self._origin[(species == s) & (task.fold[self._origin] != k)]]
            foreign = len(own) - np.sort(np.bincount(own))[-2:].sum()
            n_drawn[s] = foreign if foreign >= LEAST_DRAWN else 0
        return Descriptor(task.store.settings, bands, band_of[k], n_drawn, self._templates)

    def _drawn(self, k: int, n_overlays: int) -> np.ndarray:
        """Return the windows outside fold `k` with a known label, and as many others as there are examples
        with one: the others are many (in RFCX sixty times as many), and each says little."""
        known, outside = ~np.isnan(self.task.labels).all(axis=1), self._fold_of_window != k
        labelled, others = np.flatnonzero(known & outside), np.flatnonzero(~known & outside)
        drawn = np.random.default_rng(self.task.seed).permutation(others)[: len(labelled) + n_overlays]
        return np.sort(np.concatenate([labelled, drawn]))

    @cached_property
    def _bands(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_bands, 2) bands, and the number among them of each species' band by the boxes outside each fold,
        and in a last row by all boxes."""
        task, tp = self.task, self.task.dataset.tp
        fold = tp["recording_id"].map(dict(zip(task.dataset.train, task.fold, strict=True)))
        found = [
            species_bands(tp[fold != k], task.dataset.n_species, task.store.settings)
            for k in range(task.n_folds + 1)
        ]
        bands, number = np.unique(np.concatenate(found), axis=0, return_inverse=True)
        return bands, number.reshape(len(found), -1)

    @cached_property
    def _fold_of_window(self) -> np.ndarray:
        return self.task.per_window(self.task.fold)

    @cached_property
    def _templates(self) -> Templates:
        task = self.task
        return cut_templates(
            task.dataset.tp,
            lambda recording_id: task.store.load(recording_id, "train"),
            task.dataset.n_species,
            task.store.settings,
            task.seed,
        )

    @cached_property
    def _origin(self) -> np.ndarray:
        """(n_templates,) number of the recording that each template was cut from."""
        number = {recording_id: k for k, recording_id in enumerate(self.task.dataset.train)}
        return np.array([number[recording_id] for recording_id in self._templates.recording], int)

    @cached_property
    def _windows(self) -> np.ndarray:
        """(n_windows, n_measures) of the training windows."""
        return self.task.compute("train", self.descriptor.measure, "descriptors")

    @cached_property
    def _pairs(self) -> np.ndarray:
        """(n_overlays, 2) windows, one that shows a species, and one of its fold to lay it over."""
        rng = np.random.default_rng(self.task.seed)
        shows = rng.permutation(np.flatnonzero((self.task.labels == 1).any(axis=1)))
        call = np.sort(np.resize(shows, min(self.n_overlays * len(shows), MOST_OVERLAYS)))
        place = np.empty(len(call), int)
        for k in range(self.task.n_folds):
            of_fold = self._fold_of_window[call] == k
            place[of_fold] = rng.choice(np.flatnonzero(self._fold_of_window == k), of_fold.sum())
        return np.stack([call, place], axis=1)

    @cached_property
    def _overlays(self) -> np.ndarray:
        """(n_overlays, n_measures) of the pairs."""
        recording = self.task.per_window(np.arange(len(self.task.fold)))
        calls = recording[self._pairs[:, 0]]
        arguments = [(self._pairs[calls == r],) for r in np.unique(calls)]
        measured = in_parallel(self._measure_overlays, arguments, self.task.jobs)
        progress = tqdm(measured, desc="overlays", total=len(arguments), unit="recording")
        return np.concatenate([self._windows[:0], *progress])

    def _measure_overlays(self, pairs: np.ndarray) -> np.ndarray:
        """Return the (n_pairs, n_measures) of pairs whose calls are of one recording."""
        task = self.task
        ids, starts = list(task.dataset.train), np.concatenate(task.starts("train"))
        recording = task.per_window(np.arange(len(ids)))
        source = task.store.load(ids[recording[pairs[0, 0]]], "train")
        # Two frames are a step, so an excerpt begins where a step of the call's recording does, and has whole
        # steps.
        before = self.descriptor.reach + (starts[pairs[:, 0]] - self.descriptor.reach) % FRAMES_PER_STEP
        n_frames = task.length + 2 * (self.descriptor.reach + FRAMES_PER_STEP)
        n_frames += n_frames % FRAMES_PER_STEP
        parts = []
        for (call, place), margin in zip(pairs, before, strict=True):
            target = task.store.load(ids[recording[place]], "train")
            parts.append(
                overlay(
                    source.excerpt(starts[call] - margin, n_frames),
                    target.excerpt(starts[place] - margin, n_frames),
                )
            )
        # Side by side, for one call measures them faster; what reaches beyond a window is its own.
        first = before + n_frames * np.arange(len(parts))
        return self.descriptor.measure(concatenate(parts), first, task.length)
