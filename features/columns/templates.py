"""Columns that measure how similar a window is to annotated calls, by correlation of spectrograms."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.special import comb

from features.columns.block import MAX_NUMBER, ArraySpec, ColumnBlock, TrainingBoxes, read_block, save_block
from features.columns.sequences import FRAMES_PER_STEP, sliding_products, steps
from features.columns.species_bands import band_extents, fold_bands
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mel_range

FILE = "templates.npz"
N_STEPS = (4, 8, 16)  # possible lengths of a template, powers of two: 0.16, 0.32 and 0.64 s
MAX_TEMPLATES = 768  # in total, over all species; every template adds to the time per recording
# Smallest size of the random draw of templates of a species, see `Templates.n_drawn`. If fewer templates are
# left for the draw, all correlations of the species are set to 0: so few templates would describe individual
# recordings rather than the species.
MIN_DRAWN = 6
QUIET = 0.75  # dB; sound that varies less than this has a correlation near 0
TEMPLATE_MEASURES = ("best", "top3", "lead")
BAND_STEP = 8  # mel bands; calls whose bands are the same in multiples of it are correlated together
HALF = max(N_STEPS) // 2  # half the length of the longest template, in steps
CHUNK = 256  # number of windows whose correlations are computed at a time


@dataclass(frozen=True)
class Templates(ColumnBlock):
    """`TEMPLATE_MEASURES` of each species: correlation of a window with templates from the species' boxes.

    Attributes
    ----------
    patches : np.ndarray, shape (n_templates, 16, n_mels)
        float32 spectrogram of each template, with zero mean and norm 1 in its band and steps, 0 elsewhere.
    band : np.ndarray, shape (n_templates, 2)
        First mel band, and the one after the last.
    n_steps : np.ndarray, shape (n_templates,)
        Number of steps, one of `N_STEPS`.
    template_species : np.ndarray, shape (n_templates,)
        Species of the box that each template was cut from.
    group, fold : np.ndarray, shape (n_templates,)
        Group and fold of the recording that each template was cut from.
    usable : np.ndarray, shape (n_templates,)
        bool; whether columns are computed from the template. True for all templates, or, after
        `outside(fold)`, only for those from other folds.
    species_band : np.ndarray, shape (n_species, 2)
        First mel band of each species, and the one after the last.
    species_band_outside : np.ndarray, shape (n_folds, n_species, 2)
        The same, fitted on the boxes outside each fold.
    """

    patches: np.ndarray
    band: np.ndarray
    n_steps: np.ndarray
    template_species: np.ndarray
    group: np.ndarray
    fold: np.ndarray
    usable: np.ndarray
    species_band: np.ndarray
    species_band_outside: np.ndarray

    @classmethod
    def fit(cls, settings: SpectralSettings, training: TrainingBoxes) -> Self:
        calls, box = cut_calls(
            training.boxes,
            training.load,
            training.n_species,
            settings=settings,
            seed=training.seed,
        )
        overall, outside = fold_bands(settings, training)
        return cls(
            settings=settings,
            patches=calls.patches,
            band=calls.band,
            n_steps=calls.n_steps,
            template_species=training.boxes["species_id"].to_numpy()[box],
            group=training.group[box],
            fold=training.fold[box],
            usable=np.ones(len(box), bool),
            species_band=overall,
            species_band_outside=outside,
        )

    def outside(self, fold: int) -> Self:
        return replace(self, usable=self.fold != fold, species_band=self.species_band_outside[fold])

    @property
    def reach(self) -> int:
        return FRAMES_PER_STEP * HALF

    @property
    def n_measures(self) -> int:
        return len(self.patches)

    def names(self) -> list[str]:
        return [
            f"s{species}_template_{measure}"
            for measure in TEMPLATE_MEASURES
            for species in range(len(self.species_band))
        ]

    def extents(self) -> np.ndarray:
        return np.tile(band_extents(self.species_band, self.settings), (len(TEMPLATE_MEASURES), 1))

    def species(self) -> np.ndarray:
        return np.tile(np.arange(len(self.species_band)), len(TEMPLATE_MEASURES))

    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return window_correlations(frames, starts, length, calls=self._calls)

    def columns(self, measured: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        usable = self.usable
        if groups is not None:
            usable = usable & (groups[:, :, None] != self.group).all(axis=1)  # (W, sources, T) -> (W, T)
        return template_columns(measured, species=self.template_species, usable=usable, n_drawn=self.n_drawn)

    @cached_property
    def n_drawn(self) -> np.ndarray:
        """Size of the random draw of templates per species, shape (n_species,); see `template_columns`.

        A training window cannot use the templates of its own group. An overlay, which is two training windows
        mixed together, cannot use those of either window's group. The draw has the same size for every
        window: the number of templates left without the two largest groups. If the size varied, a model could
        infer the group of a window from it.
        """
        n_drawn = np.zeros(len(self.species_band), int)
        for species in range(len(n_drawn)):
            own = self.group[(self.template_species == species) & self.usable]
            _, counts = np.unique(own, return_counts=True)
            n_left = len(own) - np.sort(counts)[-2:].sum()
            n_drawn[species] = n_left if n_left >= MIN_DRAWN else 0
        return n_drawn

    @cached_property
    def _calls(self) -> "CutCalls":
        return CutCalls(self.patches, self.band, self.n_steps)

    def save(self, folder: Path) -> None:
        save_block(self, folder / FILE)

    @classmethod
    def load(cls, folder: Path, settings: SpectralSettings, n_species: int) -> Self:
        n_mels = settings.n_mels
        specs = {
            "patches": ArraySpec(("n_templates", max(N_STEPS), n_mels), np.float32, -1, 1),
            "band": ArraySpec(("n_templates", 2), int, 0, n_mels),
            "n_steps": ArraySpec(("n_templates",), int, min(N_STEPS), max(N_STEPS)),
            "template_species": ArraySpec(("n_templates",), int, 0, n_species - 1),
            "group": ArraySpec(("n_templates",), int, 0, MAX_NUMBER),
            "fold": ArraySpec(("n_templates",), int, 0, MAX_NUMBER),
            "usable": ArraySpec(("n_templates",), bool, 0, 1),
            "species_band": ArraySpec((n_species, 2), int, 0, n_mels),
            "species_band_outside": ArraySpec(("n_folds", n_species, 2), int, 0, n_mels),
        }
        block = cls(settings, **read_block(folder / FILE, specs))
        if not np.isin(block.n_steps, N_STEPS).all():
            raise ValueError(f"{FILE}: a template's number of steps is not one of {N_STEPS}")
        if (block.band[:, 0] >= block.band[:, 1]).any():
            raise ValueError(f"{FILE}: a template's band is empty")
        return block


@dataclass(frozen=True)
class CutCalls:
    """Spectrograms of calls.

    Attributes
    ----------
    patches : np.ndarray, shape (n_calls, 16, n_mels)
        float32, with zero mean and norm 1 in the call's band and steps, 0 elsewhere.
    band : np.ndarray, shape (n_calls, 2)
        First mel band, and the one after the last.
    n_steps : np.ndarray, shape (n_calls,)
        Number of steps, one of `N_STEPS`.
    """

    patches: np.ndarray
    band: np.ndarray
    n_steps: np.ndarray

    def __len__(self) -> int:
        return len(self.patches)

    @cached_property
    def by_length(self) -> list["CallsOfLength"]:
        """The calls in the order in which `correlations` returns them."""
        return [CallsOfLength.of(self, n, np.flatnonzero(self.n_steps == n)) for n in np.unique(self.n_steps)]

    @cached_property
    def position(self) -> np.ndarray:
        """Position of each call in the order of `by_length`, shape (n_calls,)."""
        groups = [group.which for calls in self.by_length for group in calls.groups]
        return np.argsort(np.concatenate([np.zeros(0, int), *groups]))


class CallGroup(NamedTuple):
    """Calls of equal length and similar bands, which are correlated together.

    Attributes
    ----------
    which : np.ndarray, shape (n_group,)
        Indices of the calls.
    mels : slice
        Mel bands that contain the bands of all calls in the group.
    weights : np.ndarray, shape (n_group, n_steps, n_mels_of_group)
        float32 spectrogram of each call in these mel bands.
    band : np.ndarray, shape (n_group,)
        Row of `CallsOfLength.bands` for each call.
    """

    which: np.ndarray
    mels: slice
    weights: np.ndarray
    band: np.ndarray


class CallsOfLength(NamedTuple):
    """All calls with the same number of steps.

    Attributes
    ----------
    n_steps : int
    bands : np.ndarray, shape (n_bands, 2)
        The distinct bands: first mel band, and the one after the last.
    groups : list of CallGroup
    """

    n_steps: int
    bands: np.ndarray
    groups: list[CallGroup]

    @classmethod
    def of(cls, calls: CutCalls, n_steps: int, which: np.ndarray) -> Self:
        bands, band = np.unique(calls.band[which], axis=0, return_inverse=True)
        rounded = calls.band[which] // [BAND_STEP, -BAND_STEP] * [BAND_STEP, -BAND_STEP]  # outwards
        limits, group = np.unique(rounded, axis=0, return_inverse=True)
        groups = []
        for k, (first, stop) in enumerate(limits.tolist()):
            own = group.ravel() == k
            weights = np.ascontiguousarray(calls.patches[which[own], :n_steps, first:stop])
            groups.append(CallGroup(which[own], slice(first, stop), weights, band.ravel()[own]))
        return cls(n_steps, bands, groups)


def cut_calls(
    boxes: pd.DataFrame,
    load: Callable[[str], Frames],
    n_species: int,
    *,
    settings: SpectralSettings,
    seed: int,
) -> tuple[CutCalls, np.ndarray]:
    """Return the loudest part of each box as a call, and the position of each call's box in `boxes`.

    Each species gives at most `MAX_TEMPLATES` / `n_species` calls, from boxes drawn at random. A box without
    sound above the background gives no call. The positions have the shape (n_calls,).

    Parameters
    ----------
    boxes : pd.DataFrame
        TP boxes: recording_id, species_id, t_min and t_max in seconds, f_min and f_max in Hz.
    load : callable
        Returns the frames of a recording, given its id.
    n_species : int
    settings : SpectralSettings
    seed : int
        Seed of the random draw of boxes.
    """
    shuffled = boxes.assign(position=np.arange(len(boxes))).sample(frac=1, random_state=seed)
    drawn = shuffled.groupby("species_id").head(max(MAX_TEMPLATES // n_species, 1))
    rate = settings.frame_rate / FRAMES_PER_STEP
    patches, shapes, positions = [], [], []
    for recording_id, of_recording in drawn.groupby("recording_id"):
        levels = np.maximum(steps(load(str(recording_id)).levels), 0)
        limits = of_recording[["t_min", "t_max", "f_min", "f_max"]].to_numpy()
        for position, (t_min, t_max, f_min, f_max) in zip(of_recording["position"], limits, strict=True):
            low, high = mel_range(f_min, f_max, settings)
            first = max(min(int(t_min * rate), len(levels) - min(N_STEPS)), 0)
            stop = max(int(np.ceil(t_max * rate)), first + min(N_STEPS))
            call = _loudest(levels[first:stop, low:high])
            norm = np.linalg.norm(call)
            if norm > 0:
                patch = np.zeros((max(N_STEPS), settings.n_mels), np.float32)
                patch[: len(call), low:high] = call / norm
                patches.append(patch)
                shapes.append((low, high, len(call)))
                positions.append(position)
    stacked = np.array(patches, np.float32).reshape(len(patches), max(N_STEPS), settings.n_mels)
    shape = np.array(shapes, int).reshape(len(patches), 3)
    return CutCalls(stacked, shape[:, :2], shape[:, 2]), np.array(positions, int)


def _loudest(call: np.ndarray) -> np.ndarray:
    """Return the loudest part of (n_steps, n_mels) levels, minus the mean of this part.

    Its length is the largest of `N_STEPS` that fits. It is empty if none fits.
    """
    n = max((n for n in N_STEPS if n <= len(call)), default=0)
    if n == 0:
        return call[:0]
    first = int(np.convolve(call.mean(axis=1), np.ones(n), "valid").argmax())
    return call[first : first + n] - call[first : first + n].mean()


def window_correlations(frames: Frames, starts: np.ndarray, length: int, *, calls: CutCalls) -> np.ndarray:
    """Return the highest correlation of each call in each window, shape (n_windows, n_calls).

    The normalised correlation is computed in the call's band, with the call centred on each step of the
    window.

    Parameters
    ----------
    frames : Frames
    starts : np.ndarray, shape (n_windows,)
        First frame of each window.
    length : int
        Frames per window.
    calls : CutCalls
    """
    # Pad recordings shorter than one step. Then add background (0 dB) before the start and after the end.
    levels = np.pad(frames.levels, ((0, max(FRAMES_PER_STEP - len(frames), 0)), (0, 0)))
    levels = np.pad(np.maximum(steps(levels), 0), ((HALF, HALF), (0, 0)))
    first, stop = starts // FRAMES_PER_STEP, (starts + length) // FRAMES_PER_STEP
    highest = []
    for chunk in range(0, len(starts), CHUNK):  # all windows of a long recording would need too much memory
        begin, end = first[chunk : chunk + CHUNK], stop[chunk : chunk + CHUNK]
        found = correlations(levels[begin[0] : end[-1] + 2 * HALF], calls)[HALF:-HALF]
        highest += [found[a:b].max(axis=0) for a, b in zip(begin - begin[0], end - begin[0], strict=True)]
    return np.stack(highest)[:, calls.position]


def correlations(levels: np.ndarray, calls: CutCalls) -> np.ndarray:
    """Return the correlation of each call with the levels around each step, shape (n_steps, n_calls).

    The calls are in the order of `calls.by_length`.

    Parameters
    ----------
    levels : np.ndarray, shape (n_steps, n_mels)
    calls : CutCalls
    """
    found = np.empty((len(levels), len(calls)), np.float32)
    filled = 0
    for n, bands, groups in calls.by_length:
        padded = np.pad(levels, ((n // 2, n - 1 - n // 2), (0, 0)))
        norms = _norms(padded, n, bands=bands)
        for group in groups:
            product = sliding_products(padded[:, group.mels], group.weights)
            np.divide(product, norms[:, group.band], out=found[:, filled : filled + len(group.which)])
            filled += len(group.which)
    return found


def _norms(levels: np.ndarray, n: int, *, bands: np.ndarray) -> np.ndarray:
    """Return the norm of the `n` levels from each step in each band after subtraction of their mean.

    The shape is (n_steps - n + 1, n_bands). The norm of a patch with `QUIET` dB in every value is added. This
    keeps the correlations low where the recording is nearly silent.

    Parameters
    ----------
    levels : np.ndarray, shape (n_steps, n_mels)
    n : int
        Number of steps of the template.
    bands : np.ndarray, shape (n_bands, 2)
        First mel band, and the one after the last.
    """
    low, high = bands.T
    area = n * (high - low)
    mel = np.arange(levels.shape[1])[:, None]
    in_band = ((low <= mel) & (mel < high)).astype(float)  # (n_mels, n_bands)
    sum_, sum_of_squares = (_sums(x, n) @ in_band for x in (levels.astype(float), levels.astype(float) ** 2))
    deviation = np.sqrt(np.maximum(sum_of_squares - sum_**2 / area, 0))
    return (deviation + QUIET * np.sqrt(area)).astype(np.float32)


def _sums(values: np.ndarray, n: int) -> np.ndarray:
    """Return the sum of the `n` rows from each row, (n_rows - n + 1, n_columns); n is a power of two."""
    while n > 1:  # sums of two, four, eight ... rows
        n //= 2
        values = values[: len(values) - n] + values[n:]
    return values


def template_columns(
    correlations: np.ndarray, *, species: np.ndarray, usable: np.ndarray, n_drawn: np.ndarray
) -> np.ndarray:
    """Return the `TEMPLATE_MEASURES` of each window, shape (n_windows, 3 * n_species).

    The measures of a species are the highest correlation with its templates (best), the mean of the three
    highest (top3), and its best minus the largest best of the other species (lead).
    Best and top3 are expectations over a random draw of `n_drawn` usable templates. Without the draw, a
    window with fewer usable templates would get a lower maximum. A training window that contains the species
    is one: the templates of its own group are excluded.

    Parameters
    ----------
    correlations : np.ndarray, shape (n_windows, n_templates)
    species : np.ndarray, shape (n_templates,)
        Species of each template.
    usable : np.ndarray, shape (n_windows, n_templates) or (n_templates,)
        bool. A training window must not use templates that were cut from recordings of its own group.
    n_drawn : np.ndarray, shape (n_species,)
        Number of templates drawn per species. If it is 0, all correlations of the species count as 0.
    """
    usable = np.broadcast_to(usable, correlations.shape)
    # Negative, so that an ascending sort begins with the highest; unusable correlations are last.
    negative = np.where(usable, -np.maximum(correlations.astype(np.float32), 0), np.float32(1))
    best, top3 = np.zeros((2, len(correlations), len(n_drawn)), np.float32)
    for k, n in enumerate(n_drawn):
        own = np.flatnonzero(species == k)
        if len(own) and n:
            best[:, k], top3[:, k] = _highest(negative[:, own], usable[:, own].sum(axis=1), int(n))
    first, second = np.sort(np.pad(best, ((0, 0), (1, 0))), axis=1)[:, :-3:-1].T
    lead = best - np.where(best == first[:, None], second[:, None], first[:, None])
    return np.concatenate([best, top3, lead], axis=1)


def _highest(negative: np.ndarray, n_usable: np.ndarray, n_drawn: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected highest correlation, and the expected mean of the three highest, per window.

    The expectation is over a random draw of `n_drawn` usable templates. Both arrays have shape (n_windows,).

    Parameters
    ----------
    negative : np.ndarray, shape (n_windows, n_templates)
        float32 negative correlations; above 0 for templates that a window must not use.
    n_usable : np.ndarray, shape (n_windows,)
        Number of usable templates.
    n_drawn : int
    """
    descending = -np.sort(negative, axis=1)
    best, top3 = np.zeros((2, len(negative)), np.float32)
    for n in np.unique(n_usable[n_usable > 0]):
        rows = n_usable == n
        weights = _draw_weights(int(n), min(n_drawn, int(n)))
        best[rows], top3[rows] = (descending[rows, :n] @ weights).T
    return best, top3


@lru_cache
def _draw_weights(n: int, n_drawn: int) -> np.ndarray:
    """Return the weights of `n` descending values in two weighted sums, shape (n, 2).

    With the first weights, the sum is the expected maximum of `n_drawn` values drawn at random. With the
    second, it is the expected mean of the three highest of them.
    """
    rank = np.arange(n)[:, None]
    # Probability that a value is drawn together with exactly 0, 1 or 2 higher values.
    places = np.arange(min(3, n_drawn))
    share = comb(rank, places) * comb(n - 1 - rank, n_drawn - 1 - places) / comb(n, n_drawn)
    return np.stack([share[:, 0], share.mean(axis=1)], axis=1).astype(np.float32)
