"""The frames of a window to one row of statistics, with names a person can read."""

import numpy as np

from features.frames.frames import Frames, percentile_rank, windowed
from features.frames.spectral import SpectralSettings, mel_centres, mel_edges, mfcc

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


def feature_names(settings: SpectralSettings) -> list[str]:
    """Return the names of the columns of `window_statistics`, in order."""
    bands = [f"band_{centre / 1000:.2f}kHz" for centre in mel_centres(settings)]
    cepstrum = [f"mfcc{k}" for k in range(settings.n_mfcc)]
    contrast = [f"contrast{k}" for k in range(settings.n_bands + 1)]
    return [
        *(f"{name}_{statistic}" for statistic in ("mean", "sd", *PERCENTILES, "delta") for name in bands),
        *(f"{name}_{statistic}" for statistic in ("mean", "sd") for name in cepstrum),
        *(f"{name}_{statistic}" for statistic in ("mean", "sd", "p90") for name in contrast),
    ]


def feature_extents(settings: SpectralSettings) -> np.ndarray:
    """Return the (n_features, 2) lowest and highest frequency that each column tells of, Hz.

    nan for cepstral coefficients, which tell of all.
    """
    edges = mel_edges(settings)
    bands = np.stack([edges[:-2], edges[2:]], axis=1)
    cepstrum = np.full((settings.n_mfcc, 2), np.nan)
    octaves = settings.contrast_fmin * 2.0 ** np.arange(settings.n_bands)
    contrast = np.stack([np.r_[0.0, octaves], np.r_[octaves, settings.sr / 2]], axis=1)
    return np.concatenate([*[bands] * (3 + len(PERCENTILES)), *[cepstrum] * 2, *[contrast] * 3])


def window_statistics(
    frames: Frames, starts: np.ndarray, length: int, settings: SpectralSettings
) -> np.ndarray:
    """Return the (n_windows, n_features) float32 statistics of a recording's windows.

    Band energies are dB above the recording's background; their `delta` is the mean absolute
    change from frame to frame. Percentiles, here and in the background, are order statistics
    (NumPy's method "higher").

    Parameters
    ----------
    starts : (n_windows,) first frames.
    length : frames of a window; a shorter recording has one window, of all its frames.
    """
    length = min(length, len(frames))
    bands = _windows(frames.levels, starts, length)
    cepstrum = _windows(mfcc(frames.log_mel, settings.n_mfcc), starts, length)
    contrast = _windows(frames.contrast, starts, length)
    change = _windows(np.abs(np.diff(frames.log_mel, axis=0)), starts, length - 1)
    # One frame has no change; it is 0, not undefined.
    delta = change.sum(axis=2) / np.float32(max(length - 1, 1))
    rows = [
        *(bands.mean(axis=2), bands.std(axis=2), *_percentiles(bands, list(PERCENTILES.values())), delta),
        *(cepstrum.mean(axis=2), cepstrum.std(axis=2)),
        *(contrast.mean(axis=2), contrast.std(axis=2), *_percentiles(contrast, [0.90])),
    ]
    return np.ascontiguousarray(np.concatenate(rows).T)  # (F, W) -> (W, F)


def _windows(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    return windowed(np.ascontiguousarray(values.T), starts, length)


def _percentiles(windows: np.ndarray, shares: list[float]) -> list[np.ndarray]:
    # A whole sort: NumPy's has vector instructions, its partition of short rows has not.
    ordered = np.sort(windows, axis=2)
    return [ordered[:, :, percentile_rank(share, windows.shape[2])] for share in shares]
