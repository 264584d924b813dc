"""The frames of a window to one row of statistics, with names a person can read."""

import numpy as np

from features.spectral import Frames, SpectralSettings, mel_centres, mfcc

BACKGROUND_PERCENTILE = 20
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


def subtract_background(log_mel: np.ndarray) -> np.ndarray:
    """Return (n_frames, n_mels) dB above the recording's own background.

    The background of a band is its 20th percentile over the recording: what is there most of the
    time, at whatever distance and gain the recorder stood.
    """
    return log_mel - np.percentile(log_mel, BACKGROUND_PERCENTILE, axis=0).astype(np.float32)


def background_spectrum(log_mel: np.ndarray) -> np.ndarray:
    """Return the (n_mels,) median spectrum of a recording, dB: the site, not the species."""
    return np.median(log_mel, axis=0)


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


def window_statistics(
    frames: Frames, starts: np.ndarray, length: int, settings: SpectralSettings
) -> np.ndarray:
    """Return the (n_windows, n_features) float32 statistics of a recording's windows.

    Band energies are dB above the recording's background; their `delta` is the mean absolute
    change from frame to frame. Percentiles are order statistics (NumPy's method "higher").

    Parameters
    ----------
    starts : (n_windows,) first frames.
    length : frames of a window; a shorter recording has one window, of all its frames.
    """
    length = min(length, len(frames))
    bands = _windows(subtract_background(frames.log_mel), starts, length)  # (W, K, L)
    cepstrum = _windows(mfcc(frames.log_mel, settings.n_mfcc), starts, length)
    contrast = _windows(frames.contrast, starts, length)
    # One frame has no change; it is 0, not undefined.
    delta = np.abs(np.diff(bands, axis=2)).sum(axis=2) / max(length - 1, 1)
    columns = [
        *(bands.mean(axis=2), bands.std(axis=2), *_percentiles(bands, list(PERCENTILES.values())), delta),
        *(cepstrum.mean(axis=2), cepstrum.std(axis=2)),
        *(contrast.mean(axis=2), contrast.std(axis=2), *_percentiles(contrast, [0.90])),
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _windows(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the (n_windows, n_columns, length) windows of (n_frames, n_columns) values."""
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=0)[starts]


def _percentiles(windows: np.ndarray, shares: list[float]) -> list[np.ndarray]:
    ranks = [int(np.ceil(share * (windows.shape[2] - 1))) for share in shares]
    ordered = np.partition(windows, ranks, axis=2)
    return [ordered[:, :, rank] for rank in ranks]
