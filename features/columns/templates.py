"""How much a window resembles the calls that experts marked: correlation with their spectrograms."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from scipy.special import comb

from features.columns.sequences import FRAMES_PER_STEP, steps
from features.columns.species_bands import mel_range
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

N_STEPS = (4, 8, 16)  # of a template: 0.16, 0.32 or 0.64 s
MOST_TEMPLATES = 768  # of all species; each costs every recording
QUIET = 0.75  # dB; a passage that varies less correlates with nothing
TEMPLATE_MEASURES = ("best", "top3", "lead")
HALF = max(N_STEPS) // 2  # steps that a template reaches beyond its centre
BLOCK = 256  # windows whose correlations are held at a time
TEMPLATE_REACH = FRAMES_PER_STEP * HALF
"""Frames beyond a window that its correlations may hang on."""


@dataclass(frozen=True)
class Templates:
    """Calls cut from recordings.

    patches : (n_templates, 16, n_mels) float32, 0 outside the call's band and beyond its steps; inside of
        zero mean, and of norm 1.
    band : (n_templates, 2) first and last + 1 mel band.
    n_steps : (n_templates,) of `N_STEPS`.
    species : (n_templates,).
    recording : (n_templates,) id of the training recording that each was cut from.
    """

    patches: np.ndarray
    band: np.ndarray
    n_steps: np.ndarray
    species: np.ndarray
    recording: np.ndarray

    def __len__(self) -> int:
        return len(self.patches)

    @cached_property
    def by_length(self) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Steps, the templates that have so many, and their (n_steps * n_mels, n) patches."""
        found = [(n, np.flatnonzero(self.n_steps == n)) for n in N_STEPS]
        return [
            (n, which, np.ascontiguousarray(self.patches[which, :n].reshape(len(which), -1).T))
            for n, which in found
            if len(which)
        ]


def cut_templates(
    boxes: pd.DataFrame,
    load: Callable[[str], Frames],
    n_species: int,
    settings: SpectralSettings,
    seed: int,
) -> Templates:
    """Return the loudest stretch of each TP box, of a species at most its part of `MOST_TEMPLATES`.

    A box that shows nothing above the background gives none.

    Parameters
    ----------
    boxes : TP boxes: recording_id, species_id, t_min and t_max in seconds, f_min and f_max in Hz.
    load : returns the frames of a recording.
    seed : of the draw, where there are more boxes.
    """
    shuffled = boxes.sample(frac=1, random_state=seed)
    drawn = shuffled.groupby("species_id").head(max(MOST_TEMPLATES // n_species, 1))
    rate = settings.frame_rate / FRAMES_PER_STEP
    patches, shapes, origins = [], [], []
    for recording_id, of_recording in drawn.groupby("recording_id"):
        levels = np.maximum(steps(load(str(recording_id)).levels), 0)
        box_values = of_recording[["species_id", "t_min", "t_max", "f_min", "f_max"]].to_numpy()
        for species, t_min, t_max, f_min, f_max in box_values:
            low, high = mel_range(f_min, f_max, settings)
            first = max(min(int(t_min * rate), len(levels) - min(N_STEPS)), 0)
            stop = max(int(np.ceil(t_max * rate)), first + min(N_STEPS))
            call = _loudest(levels[first:stop, low:high])
            norm = np.linalg.norm(call)
            if norm > 0:
                patch = np.zeros((max(N_STEPS), settings.n_mels), np.float32)
                patch[: len(call), low:high] = call / norm
                patches.append(patch)
                shapes.append((low, high, len(call), species))
                origins.append(recording_id)
    stacked = np.array(patches, np.float32).reshape(len(patches), max(N_STEPS), settings.n_mels)
    shape = np.array(shapes, int).reshape(len(patches), 4)
    return Templates(stacked, shape[:, :2], shape[:, 2], shape[:, 3], np.array(origins, str))


def _loudest(call: np.ndarray) -> np.ndarray:
    """Return the loudest `N_STEPS` of (n_steps, n_mels) levels, less their mean; none of fewer steps."""
    n = max((n for n in N_STEPS if n <= len(call)), default=0)
    if n == 0:
        return call[:0]
    first = int(np.convolve(call.mean(axis=1), np.ones(n), "valid").argmax())
    return call[first : first + n] - call[first : first + n].mean()


def window_correlations(frames: Frames, starts: np.ndarray, length: int, templates: Templates) -> np.ndarray:
    """Return the (n_windows, n_templates) highest correlation of each template inside each window.

    Normalised cross-correlation in the template's band, after its centre, over steps of two frames.

    Parameters
    ----------
    starts : (n_windows,) first frames.
    length : frames of a window.
    """
    # A recording of one frame is half a step. Beyond the ends there is background, 0 dB.
    levels = np.pad(frames.levels, ((0, max(FRAMES_PER_STEP - len(frames), 0)), (0, 0)))
    levels = np.pad(np.maximum(steps(levels), 0), ((HALF, HALF), (0, 0)))
    first, stop = starts // FRAMES_PER_STEP, (starts + length) // FRAMES_PER_STEP
    highest = []
    for block in range(0, len(starts), BLOCK):  # a long recording's correlations would fill the memory
        begin, end = first[block : block + BLOCK], stop[block : block + BLOCK]
        found = correlations(levels[begin[0] : end[-1] + 2 * HALF], templates)[HALF:-HALF]
        highest += [found[a:b].max(axis=0) for a, b in zip(begin - begin[0], end - begin[0], strict=True)]
    return np.stack(highest)


def correlations(levels: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the (n_steps, n_templates) correlation of (n_steps, n_mels) levels around each step."""
    found = np.empty((len(levels), len(templates)), np.float32)
    total, squares = (
        np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=1, dtype=float) for x in (levels, levels**2)
    )
    for n, which, patches in templates.by_length:
        around = _around(levels, n)  # (N, n, K)
        product = around.reshape(len(levels), -1) @ patches  # all at once: (N, n * K) @ (n * K, T)
        bands, member = np.unique(templates.band[which], axis=0, return_inverse=True)
        norm = np.stack([_norm(total, squares, n, low, high) for low, high in bands], axis=1)
        found[:, which] = product / norm.astype(np.float32)[:, member.ravel()]
    return found


def _around(values: np.ndarray, n: int) -> np.ndarray:
    """Return the (n_steps, n, ...) `n` values around each step, 0 beyond the ends."""
    pad = [(n // 2, n - 1 - n // 2), *[(0, 0)] * (values.ndim - 1)]
    view = np.lib.stride_tricks.sliding_window_view(np.pad(values, pad), n, axis=0)
    return np.moveaxis(view, -1, 1)


def _norm(total: np.ndarray, squares: np.ndarray, n: int, low: int, high: int) -> np.ndarray:
    """Return the (n_steps,) norm of the levels around each step in a band, without their mean.

    Parameters
    ----------
    total, squares : (n_steps, n_mels + 1) cumulative sums over bands, of levels and of their squares.
    """
    area = n * (high - low)
    sum_, sum_of_squares = (_around(x[:, high] - x[:, low], n).sum(axis=1) for x in (total, squares))
    return np.sqrt(np.maximum(sum_of_squares - sum_**2 / area, 0)) + QUIET * np.sqrt(area)


def template_columns(
    correlations: np.ndarray, species: np.ndarray, usable: np.ndarray, n_drawn: np.ndarray
) -> np.ndarray:
    """Return the (n_windows, 3 * n_species) `TEMPLATE_MEASURES` of each window by each species' templates.

    The highest correlation, the mean of the three highest, and how much the highest exceeds that of
    the best other species. Highest is meant of `n_drawn` templates, in the mean over all draws from the
    usable: a species' own windows may use fewer than others, and the best of fewer is lower.

    Parameters
    ----------
    correlations : (n_windows, n_templates).
    species : (n_templates,).
    usable : (n_windows, n_templates) or (n_templates,) bool. A window of a training recording must not
        use what was cut from it: there it would find itself.
    n_drawn : (n_species,) templates of each species; where it is 0, its columns are.
    """
    usable = np.broadcast_to(usable, correlations.shape)
    best, top3 = np.zeros((2, len(correlations), len(n_drawn)), np.float32)
    for k, n in enumerate(n_drawn):
        own = np.flatnonzero(species == k)
        if len(own) and n:
            best[:, k], top3[:, k] = _highest(correlations[:, own], usable[:, own], int(n))
    first, second = np.sort(np.pad(best, ((0, 0), (1, 0))), axis=1)[:, :-3:-1].T
    lead = best - np.where(best == first[:, None], second[:, None], first[:, None])
    return np.concatenate([best, top3, lead], axis=1)


def _highest(correlations: np.ndarray, usable: np.ndarray, n_drawn: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n_windows,) expected highest, and mean of three highest, of draws from the usable."""
    descending = -np.sort(np.where(usable, -np.maximum(correlations, 0), 1).astype(np.float32), axis=1)
    n_usable = usable.sum(axis=1)
    best, top3 = np.zeros((2, len(correlations)), np.float32)
    for n in np.unique(n_usable[n_usable > 0]):
        rows = n_usable == n
        weights = _draw_weights(int(n), min(n_drawn, int(n)))
        best[rows], top3[rows] = (descending[rows, :n] @ weights).T
    return best, top3


@lru_cache
def _draw_weights(n: int, n_drawn: int) -> np.ndarray:
    """Return (n, 2) weights of `n` values, highest first, in the expected highest and mean of three
    highest of `n_drawn` of them."""
    rank = np.arange(n)[:, None]
    # Drawn, and with so many of the higher ones among the other drawn.
    places = np.arange(min(3, n_drawn))
    share = comb(rank, places) * comb(n - 1 - rank, n_drawn - 1 - places) / comb(n, n_drawn)
    return np.stack([share[:, 0], share.mean(axis=1)], axis=1).astype(np.float32)


def template_names(n_species: int) -> list[str]:
    """Return the names of the columns of `template_columns`, in order."""
    return [f"s{species}_template_{measure}" for measure in TEMPLATE_MEASURES for species in range(n_species)]
