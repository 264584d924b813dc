"""Level, excess over neighbouring bands, peak and pulse rate in each species' frequency band."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import scipy.fft

from features.columns.block import MAX_NUMBER, ArraySpec, ColumnBlock, TrainingBoxes, read_block, save_block
from features.frames.frames import Frames, percentile_rank, windowed
from features.frames.spectral import SpectralSettings, mel_centres, mel_edges, mel_range

FILE = "species_bands.npz"
PULSE_EDGES = (1.0, 2.5, 5.0, 10.0, 25.0)  # Hz; frames every 20 ms cannot show rates above 25 Hz
PULSE_REACH = 25
"""Number of frames (0.5 s) before and after a window that are included when pulse rates are computed."""
BAND_MEASURES = (
    *("level_p90", "above_flanks_p90", "peak_p90"),
    *(f"pulse_{low:g}-{high:g}Hz" for low, high in pairwise(PULSE_EDGES)),
)


@dataclass(frozen=True)
class SpeciesBands(ColumnBlock):
    """`BAND_MEASURES` in the frequency band of each species.

    The band of a species extends from the median `f_min` to the median `f_max` of its boxes.

    Attributes
    ----------
    bands : np.ndarray, shape (n_bands, 2)
        First mel band of each distinct band, and the one after the last. The rows are the bands of all
        species, fitted on all boxes and on the boxes outside each fold.
    band_of : np.ndarray, shape (n_species,)
        Row of `bands` for each species.
    band_of_outside : np.ndarray, shape (n_folds, n_species)
        The same, fitted on the boxes outside each fold.
    """

    bands: np.ndarray
    band_of: np.ndarray
    band_of_outside: np.ndarray

    @classmethod
    def fit(cls, settings: SpectralSettings, training: TrainingBoxes) -> Self:
        overall, outside = fold_bands(settings, training)
        found = np.concatenate([outside, overall[None]])  # (n_folds + 1, n_species, 2)
        bands, row = np.unique(found.reshape(-1, 2), axis=0, return_inverse=True)
        row = row.reshape(found.shape[:2])
        return cls(settings, bands, row[-1], row[:-1])

    def outside(self, fold: int) -> Self:
        return replace(self, band_of=self.band_of_outside[fold])

    @property
    def reach(self) -> int:
        return PULSE_REACH

    @property
    def n_measures(self) -> int:
        return len(self.bands) * len(BAND_MEASURES)

    def names(self) -> list[str]:
        kilohertz = mel_centres(self.settings) / 1000
        return [
            f"s{species}_{kilohertz[first]:.2f}-{kilohertz[max(stop - 1, 0)]:.2f}kHz_{measure}"
            for species, (first, stop) in enumerate(self.bands[self.band_of])
            for measure in BAND_MEASURES
        ]

    def extents(self) -> np.ndarray:
        own = band_extents(self.bands[self.band_of], self.settings)
        return np.repeat(own, len(BAND_MEASURES), axis=0)

    def species(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.band_of)), len(BAND_MEASURES))

    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return band_measures(frames, starts, length, bands=self.bands, frame_rate=self.settings.frame_rate)

    def columns(self, measured: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        by_band = measured.reshape(len(measured), len(self.bands), len(BAND_MEASURES))
        return by_band[:, self.band_of].reshape(len(measured), -1)

    def save(self, folder: Path) -> None:
        save_block(self, folder / FILE)

    @classmethod
    def load(cls, folder: Path, settings: SpectralSettings, n_species: int) -> Self:
        specs = {
            "bands": ArraySpec(("n_bands", 2), int, 0, settings.n_mels),
            "band_of": ArraySpec((n_species,), int, 0, MAX_NUMBER),
            "band_of_outside": ArraySpec(("n_folds", n_species), int, 0, MAX_NUMBER),
        }
        block = cls(settings, **read_block(folder / FILE, specs))
        if max(block.band_of.max(), block.band_of_outside.max(initial=0)) >= len(block.bands):
            raise ValueError(f"{FILE}: the band of a species is not among the {len(block.bands)} bands")
        if (block.bands[:, 0] > block.bands[:, 1]).any():
            raise ValueError(f"{FILE}: a band ends before it begins")
        return block


def median_bands(boxes: pd.DataFrame, n_species: int, settings: SpectralSettings) -> np.ndarray:
    """Return the median band of the boxes of each species, shape (n_species, 2).

    A band is given by its first mel band and the one after the last. A species without a box has the empty
    band (0, 0).

    Parameters
    ----------
    boxes : pd.DataFrame
        TP boxes: species_id, f_min and f_max in Hz.
    n_species : int
    settings : SpectralSettings
    """
    bands = np.zeros((n_species, 2), int)
    medians = boxes.groupby("species_id")[["f_min", "f_max"]].median().reset_index()
    for species, f_min, f_max in medians.to_numpy():
        bands[int(species)] = mel_range(f_min, f_max, settings)
    return bands


def fold_bands(settings: SpectralSettings, training: TrainingBoxes) -> tuple[np.ndarray, np.ndarray]:
    """Return the median bands of all boxes, and an array of those of the boxes outside each fold."""
    boxes, n_species = training.boxes, training.n_species
    outside = [
        median_bands(boxes[training.fold != fold], n_species, settings) for fold in range(training.n_folds)
    ]
    return median_bands(boxes, n_species, settings), np.stack(outside)


def band_extents(bands: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Return the lowest and highest frequency of each of (n, 2) bands in Hz, shape (n, 2); nan if empty."""
    first, stop = bands.T
    extents = np.stack([mel_edges(settings)[first], mel_edges(settings)[stop + 1]], axis=1)
    extents[stop == 0] = np.nan
    return extents


def band_measures(
    frames: Frames, starts: np.ndarray, length: int, *, bands: np.ndarray, frame_rate: float
) -> np.ndarray:
    """Return the float32 `BAND_MEASURES` of each window in each band, shape (n_windows, n_bands * 7).

    The first three are computed per frame, in dB, and the measure is their 90th percentile over the window.
    They are the mean level of the band, the excess of this level over the mean level of the flanks (half the
    band's width on either side), and the excess of the loudest mel band over the mean level of the band. The
    other measures are the share of each range of pulse rates in the modulation spectrum of the mean level.
    They also include `PULSE_REACH` frames before and after the window.

    Parameters
    ----------
    frames : Frames
    starts : np.ndarray, shape (n_windows,)
        First frame of each window.
    length : int
        Frames per window. A recording with fewer frames has one window, with all its frames.
    bands : np.ndarray, shape (n_bands, 2)
        First mel band, and the one after the last. The measures of an empty band are 0.
    frame_rate : float
        Frames per second.
    """
    length = min(length, len(frames))
    by_band = np.ascontiguousarray(frames.levels.T)  # (K, N)
    n_mels = len(by_band)
    below = np.cumsum(np.pad(by_band, ((1, 0), (0, 0))), axis=0, dtype=float)  # sums of the bands below each
    level, above, peak = np.zeros((3, len(bands), len(frames)), np.float32)
    for k, (first, stop) in enumerate(bands):
        if stop == first:
            continue
        width = max((stop - first) // 2, 2)
        low, high = max(first - width, 0), min(stop + width, n_mels)
        n_inside, n_flanks = stop - first, high - low - (stop - first)
        inside = below[stop] - below[first]
        level[k] = inside / n_inside
        above[k] = level[k]
        if n_flanks:
            above[k] -= (below[high] - below[low] - inside) / n_flanks
        peak[k] = by_band[first:stop].max(axis=0) - level[k]
    rank = percentile_rank(0.9, length)
    measures = [np.sort(windowed(x, starts, length), axis=2)[:, :, rank] for x in (level, above, peak)]
    padded = np.pad(level, ((0, 0), (PULSE_REACH, PULSE_REACH)))
    measures += pulse_shares(windowed(padded, starts, length + 2 * PULSE_REACH), frame_rate)
    return np.stack(measures, axis=2).swapaxes(0, 1).reshape(len(starts), -1)  # (B, W, 7) -> (W, B * 7)


def pulse_shares(level: np.ndarray, frame_rate: float) -> list[np.ndarray]:
    """Return the share of each range between `PULSE_EDGES` in the modulation spectrum of the levels.

    Parameters
    ----------
    level : np.ndarray, shape (..., n_frames)
    frame_rate : float
        Frames per second.

    Returns
    -------
    list of np.ndarray, shape (...)
        One array per range.
    """
    n_frames = level.shape[-1]
    spectrum = scipy.fft.rfft(level - level.mean(axis=-1, keepdims=True), axis=-1)
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2)
    total = magnitude.sum(axis=-1) + np.float32(1e-3)  # dB; avoids 0 / 0 for a constant level
    frequency = scipy.fft.rfftfreq(n_frames, 1 / frame_rate)
    ranges = pairwise(np.searchsorted(frequency, PULSE_EDGES))
    return [magnitude[..., first:stop].sum(axis=-1) / total for first, stop in ranges]
