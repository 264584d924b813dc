"""What sounds in each species' own band: how loud, how apart from its flanks, how peaked, how pulsed."""

from itertools import pairwise

import numpy as np
import pandas as pd
import scipy.fft

from features.frames.frames import Frames, percentile_rank, windowed
from features.frames.spectral import SpectralSettings, mel_centres

PULSE_EDGES = (1.0, 2.5, 5.0, 10.0, 25.0)  # Hz; frames every 20 ms show no faster pulse
BAND_REACH = 25
"""Frames beyond a window, on either side, that tell its pulse: half a second."""
BAND_MEASURES = (
    *("level_p90", "above_flanks_p90", "peak_p90"),
    *(f"pulse_{low:g}-{high:g}Hz" for low, high in pairwise(PULSE_EDGES)),
)
LEAST_WIDTH = 3  # mel bands; fewer tell a tone's exact pitch, not the species


def species_bands(boxes: pd.DataFrame, n_species: int, settings: SpectralSettings) -> np.ndarray:
    """Return the (n_species, 2) first and last + 1 mel band of each species: the median of its boxes.

    A species without a box has the empty band (0, 0).

    Parameters
    ----------
    boxes : TP boxes: species_id, f_min and f_max in Hz.
    """
    bands = np.zeros((n_species, 2), int)
    medians = boxes.groupby("species_id")[["f_min", "f_max"]].median().reset_index()
    for species, f_min, f_max in medians.to_numpy():
        bands[int(species)] = mel_range(f_min, f_max, settings)
    return bands


def mel_range(f_min: float, f_max: float, settings: SpectralSettings) -> tuple[int, int]:
    """Return the first and last + 1 mel band centred between two frequencies, at least `LEAST_WIDTH`."""
    centres = mel_centres(settings)
    first, stop = np.searchsorted(centres, (f_min, f_max))
    missing = max(LEAST_WIDTH - (stop - first), 0)
    first = min(max(first - (missing + 1) // 2, 0), len(centres) - LEAST_WIDTH)
    return int(first), int(max(stop, first + LEAST_WIDTH))


def band_names(bands: np.ndarray, settings: SpectralSettings) -> list[str]:
    """Return the names of the columns of `band_measures`, in order."""
    kilohertz = mel_centres(settings) / 1000
    return [
        f"s{species}_{kilohertz[first]:.2f}-{kilohertz[max(stop - 1, 0)]:.2f}kHz_{measure}"
        for species, (first, stop) in enumerate(bands)
        for measure in BAND_MEASURES
    ]


def band_measures(
    frames: Frames, starts: np.ndarray, length: int, bands: np.ndarray, frame_rate: float
) -> np.ndarray:
    """Return the (n_windows, n_bands * 7) float32 `BAND_MEASURES` of each window in each band.

    The band's mean level, what it stands above the bands beside it (half its width on either side),
    and its loudest mel band above its mean, each in dB at the window's 90th percentile; then the
    shares of the level's modulation, in the window and `BAND_REACH` around it, at each range of pulse rates.

    Parameters
    ----------
    starts : (n_windows,) first frames.
    length : frames of a window; a shorter recording has one window, of all its frames.
    bands : (n_bands, 2) first and last + 1 mel band; an empty one measures 0.
    """
    length = min(length, len(frames))
    by_band = np.ascontiguousarray(frames.levels.T)  # (K, N)
    n_mels = len(by_band)
    level, above, peak = np.zeros((3, len(bands), len(frames)), np.float32)
    for k, (first, stop) in enumerate(bands):
        if stop == first:
            continue
        width = max((stop - first) // 2, 2)
        flanks = np.r_[max(first - width, 0) : first, stop : min(stop + width, n_mels)]
        level[k] = by_band[first:stop].mean(axis=0)
        above[k] = level[k] - (by_band[flanks].mean(axis=0) if len(flanks) else 0)
        peak[k] = by_band[first:stop].max(axis=0) - level[k]
    rank = percentile_rank(0.9, length)
    measures = [np.sort(windowed(x, starts, length), axis=2)[:, :, rank] for x in (level, above, peak)]
    around = windowed(np.pad(level, ((0, 0), (BAND_REACH, BAND_REACH))), starts, length + 2 * BAND_REACH)
    measures += pulse_shares(around, frame_rate)
    return np.stack(measures, axis=2).swapaxes(0, 1).reshape(len(starts), -1)  # (B, W, 7) -> (W, B * 7)


def pulse_shares(level: np.ndarray, frame_rate: float) -> list[np.ndarray]:
    """Return, for each two of `PULSE_EDGES`, the (...) share of the modulation of (..., n_frames) levels."""
    n_frames = level.shape[-1]
    spectrum = np.abs(scipy.fft.rfft(level - level.mean(axis=-1, keepdims=True), axis=-1))
    frequency = scipy.fft.rfftfreq(n_frames, 1 / frame_rate)
    total = spectrum.sum(axis=-1) + np.float32(1e-3)  # dB; a level that never moves has no pulse
    inside = [(frequency >= low) & (frequency < high) for low, high in pairwise(PULSE_EDGES)]
    return [spectrum[..., bins].sum(axis=-1) / total for bins in inside]
