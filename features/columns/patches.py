"""Columns that measure how similar a window is to short patches of sound, learned around TP boxes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from features.columns.block import MAX_NUMBER, ArraySpec, ColumnBlock, TrainingBoxes, read_block, save_block
from features.columns.sequences import FRAMES_PER_STEP, sliding_products, steps
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mel_centres, mel_edges

FILE = "patches.npz"
N_STEPS = 4  # length of a patch: 0.16 s
N_BANDS = 16  # height of a patch, mel bands
BAND_HOP = 8  # mel bands between the heights at which patches are cut
N_CENTRES = 64  # centres at each height, of all folds together
PATCHES_PER_CENTRE = 10  # with fewer patches, a centre would describe single calls
MAX_BOXES = 2048  # boxes that patches are cut from
CUTS = 8  # patches that are cut from a box at each height
CUT_REACH = 0.5  # s; patches are cut up to this distance from the middle of the box
WHITENED_DIMENSIONS = 32
WHITENING_FLOOR = 0.1  # share of the mean variance that is added to the variance of each dimension
MIN_FLOOR = 0.01  # dB^2; the least that is added, so that sound of constant level does not give large weights
ITERATIONS = 15  # of k-means
MAX_WEIGHT = 1e4  # largest stored weight; more would overflow a column's float16
PATCH_MEASURES = ("max", "mean")


@dataclass(frozen=True)
class Patches(ColumnBlock):
    """`PATCH_MEASURES` of learned patches: centres of patches of sound around the boxes.

    A patch has `N_STEPS` steps and `N_BANDS` mel bands. Patches are cut around the boxes of one fold, at each
    of several heights. They are whitened, and spherical k-means finds their centres [1]_, [2]_. The
    activation of a centre at a step is its product with the whitened patch that begins there. The measures
    are the highest activation in a window, and the mean of the positive activations.

    Centres have no species. Each is learned from the boxes of one fold, so that the models of the other folds
    can use it.

    Attributes
    ----------
    weights : np.ndarray, shape (n_centres, N_STEPS, N_BANDS)
        float32 weights of the levels in a patch, in the activation of each centre.
    offset : np.ndarray, shape (n_centres,)
        float32 activation of each centre by a silent patch.
    first_band : np.ndarray, shape (n_centres,)
        First mel band of each centre.
    fold : np.ndarray, shape (n_centres,)
        Fold that each centre was learned from.
    usable : np.ndarray, shape (n_centres,)
        bool; whether columns are computed from the centre; the other columns are 0. True for all centres, or,
        after `outside(fold)`, only for those from other folds.

    References
    ----------
    .. [1] Coates and Ng (2012), "Learning feature representations with k-means".
    .. [2] Stowell and Plumbley (2014), "Automatic large-scale classification of bird sounds is strongly
       improved by unsupervised feature learning".
    """

    weights: np.ndarray
    offset: np.ndarray
    first_band: np.ndarray
    fold: np.ndarray
    usable: np.ndarray

    @classmethod
    def fit(cls, settings: SpectralSettings, training: TrainingBoxes) -> Self:
        heights = range(0, settings.n_mels - N_BANDS + 1, BAND_HOP)
        n_centres = max(N_CENTRES // training.n_folds, 1)
        weights, offset, first_band, fold = [], [], [], []
        cuts, fold_of_cut = _cut(settings, training)
        for k in range(training.n_folds):
            rng = np.random.default_rng((training.seed, k))
            of_fold = cuts[fold_of_cut == k]
            n = min(n_centres, len(of_fold) // PATCHES_PER_CENTRE)
            for first in heights if n else ():
                patches = of_fold[:, :, first : first + N_BANDS].reshape(len(of_fold), -1)
                learned, constant = _learn(patches, n, rng)
                weights.append(learned.reshape(n, N_STEPS, N_BANDS))
                offset.append(constant)
                first_band.append(np.full(n, first))
                fold.append(np.full(n, k))
        shape = (0, N_STEPS, N_BANDS)
        return cls(
            settings=settings,
            weights=np.concatenate([np.zeros(shape, np.float32), *weights]),
            offset=np.concatenate([np.zeros(0, np.float32), *offset]),
            first_band=np.concatenate([np.zeros(0, int), *first_band]),
            fold=np.concatenate([np.zeros(0, int), *fold]),
            usable=np.ones(sum(map(len, fold)), bool),
        )

    def outside(self, fold: int) -> Self:
        return replace(self, usable=self.fold != fold)

    @property
    def reach(self) -> int:
        return FRAMES_PER_STEP  # a step can begin before the window

    @property
    def n_measures(self) -> int:
        return len(PATCH_MEASURES) * len(self.weights)

    def names(self) -> list[str]:
        kilohertz = mel_centres(self.settings) / 1000
        return [
            f"patch{k}_{kilohertz[first]:.2f}-{kilohertz[first + N_BANDS - 1]:.2f}kHz_{measure}"
            for measure in PATCH_MEASURES
            for k, first in enumerate(self.first_band)
        ]

    def extents(self) -> np.ndarray:
        edges = mel_edges(self.settings)
        own = np.stack([edges[self.first_band], edges[self.first_band + N_BANDS + 1]], axis=1)
        return np.tile(own, (len(PATCH_MEASURES), 1))

    def species(self) -> np.ndarray:
        return np.full(self.n_measures, -1)

    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        levels = _padded_steps(frames, length)
        activation = activations(levels, self.weights, self.offset, first_band=self.first_band)
        first = starts // FRAMES_PER_STEP
        n_positions = max(length // FRAMES_PER_STEP - N_STEPS + 1, 1)
        of_window = np.minimum(first[:, None] + np.arange(n_positions), len(activation) - 1)
        highest = np.empty((len(starts), len(self.weights)), np.float32)
        mean = np.empty_like(highest)
        for k, positions in enumerate(of_window):
            found = activation[positions[0] : positions[-1] + 1]
            highest[k] = found.max(axis=0)
            mean[k] = np.maximum(found, 0).mean(axis=0)
        return np.concatenate([highest, mean], axis=1)

    def columns(self, measured: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        return np.where(np.tile(self.usable, len(PATCH_MEASURES)), measured, 0)

    def save(self, folder: Path) -> None:
        save_block(self, folder / FILE)

    @classmethod
    def load(cls, folder: Path, settings: SpectralSettings, n_species: int) -> Self:
        specs = {
            "weights": ArraySpec(("n_centres", N_STEPS, N_BANDS), np.float32, -MAX_WEIGHT, MAX_WEIGHT),
            "offset": ArraySpec(("n_centres",), np.float32, -MAX_WEIGHT, MAX_WEIGHT),
            "first_band": ArraySpec(("n_centres",), int, 0, settings.n_mels - N_BANDS),
            "fold": ArraySpec(("n_centres",), int, 0, MAX_NUMBER),
            "usable": ArraySpec(("n_centres",), bool, 0, 1),
        }
        return cls(settings, **read_block(folder / FILE, specs))


def activations(
    levels: np.ndarray, weights: np.ndarray, offset: np.ndarray, *, first_band: np.ndarray
) -> np.ndarray:
    """Return the activation of each centre by the patch that begins at each step, (n_positions, n_centres).

    Parameters
    ----------
    levels : np.ndarray, shape (n_steps, n_mels)
    weights : np.ndarray, shape (n_centres, N_STEPS, N_BANDS)
    offset : np.ndarray, shape (n_centres,)
    first_band : np.ndarray, shape (n_centres,)
        First mel band of each centre.
    """
    found = np.empty((len(levels) - N_STEPS + 1, len(weights)), np.float32)
    for first in np.unique(first_band):
        which = first_band == first
        found[:, which] = sliding_products(levels[:, first : first + N_BANDS], weights[which])
    return found + offset


def _padded_steps(frames: Frames, length: int = 0) -> np.ndarray:
    """Return the levels of each step, padded with background to at least a patch and `length` frames."""
    missing = max(length, FRAMES_PER_STEP * N_STEPS) - len(frames)
    return steps(np.pad(frames.levels, ((0, max(missing, 0)), (0, 0))))


def _cut(settings: SpectralSettings, training: TrainingBoxes) -> tuple[np.ndarray, np.ndarray]:
    """Return levels around boxes, (n_cuts, N_STEPS, n_mels), and the fold of each cut, (n_cuts,).

    The cuts of a fold only depend on the boxes of this fold.
    """
    cuts, fold_of_cut = [], []
    boxes = training.boxes.assign(fold=training.fold)
    rate = settings.frame_rate / FRAMES_PER_STEP
    for k in range(training.n_folds):
        rng = np.random.default_rng((training.seed, k))
        of_fold = boxes[boxes["fold"] == k]
        drawn = of_fold.iloc[np.sort(rng.permutation(len(of_fold))[: MAX_BOXES // training.n_folds])]
        for recording_id, of_recording in drawn.groupby("recording_id", sort=True):
            levels = _padded_steps(training.load(str(recording_id)))
            for t_min, t_max in of_recording[["t_min", "t_max"]].to_numpy():
                middle = (t_min + t_max) / 2
                low, high = (int(rate * (middle + side * CUT_REACH)) for side in (-1, 1))
                last = len(levels) - N_STEPS
                for first in rng.integers(low, high - N_STEPS + 1, CUTS).clip(0, last):
                    cuts.append(levels[first : first + N_STEPS])
                    fold_of_cut.append(k)
    stacked = np.array(cuts, np.float32).reshape(len(cuts), N_STEPS, settings.n_mels)
    return stacked, np.array(fold_of_cut, int)


def _learn(patches: np.ndarray, n_centres: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the offsets of the centres of patches.

    The patches are projected to their principal components, divided by the standard deviation of each, and
    grouped by spherical k-means.

    Parameters
    ----------
    patches : np.ndarray, shape (n_patches, n_values)
    n_centres : int
    rng : np.random.Generator

    Returns
    -------
    weights : np.ndarray, shape (n_centres, n_values)
    offset : np.ndarray, shape (n_centres,)
    """
    mean = patches.mean(axis=0)
    variance, components = np.linalg.eigh(np.cov(patches.T))
    variance, components = variance[-WHITENED_DIMENSIONS:], components[:, -WHITENED_DIMENSIONS:]
    floor = max(WHITENING_FLOOR * variance.mean(), MIN_FLOOR)
    whitening = components / np.sqrt(np.maximum(variance, 0) + floor)
    weights = spherical_kmeans((patches - mean) @ whitening, n_centres, rng) @ whitening.T
    return weights.astype(np.float32), -(weights @ mean).astype(np.float32)


def spherical_kmeans(X: np.ndarray, n_centres: int, rng: np.random.Generator) -> np.ndarray:
    """Return the centres of X, (n_centres, n_features), which have norm 1.

    Each row of X belongs to the centre with the highest cosine similarity. A centre has the direction of the
    sum of its rows, each scaled to norm 1 and weighted by its similarity.

    Parameters
    ----------
    X : np.ndarray, shape (n_rows, n_features)
    n_centres : int
    rng : np.random.Generator

    Examples
    --------
    >>> X = np.array([[9.0, 1.0], [8.0, -1.0], [0.1, 5.0], [-0.1, 7.0]])
    >>> np.sort(np.abs(spherical_kmeans(X, 2, np.random.default_rng(1)).round(1)), axis=0).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    rows = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float32).eps)
    centres = rows[rng.choice(len(rows), n_centres, replace=False)]
    for _ in range(ITERATIONS):
        similarity = rows @ centres.T
        nearest = similarity.argmax(axis=1)
        member = nearest[:, None] == np.arange(n_centres)  # (n_rows, n_centres)
        sums = np.where(member, np.maximum(similarity, 0), 0).T @ rows
        norm = np.linalg.norm(sums, axis=1, keepdims=True)
        replacement = rows[rng.choice(len(rows), n_centres)]  # of centres without rows
        centres = np.where(norm > 0, sums / np.maximum(norm, np.finfo(np.float32).tiny), replacement)
    return centres
