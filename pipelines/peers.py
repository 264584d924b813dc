"""What the bench holds Understory against: the same work as others would write it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import lightgbm as lgb
import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import soxr
import torch
from sklearn.multiclass import OneVsRestClassifier

from features.spectral import BLOCK, SpectralSettings
from features.windows import WindowSettings

FOUR_SECONDS = WindowSettings(length=4.0, hop=2.0)


def floor(path: Path, settings: SpectralSettings) -> None:
    """Decode, resample, and transform the windowed frames: what no features of those frames can go below."""
    y, sr = soundfile.read(path, dtype="float32")
    y = soxr.resample(y, sr, settings.sr)
    window = scipy.signal.get_window("hann", settings.n_fft).astype(np.float32)
    padded = np.pad(y, settings.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    for first in range(0, len(frames), BLOCK):
        scipy.fft.rfft(frames[first : first + BLOCK] * window, axis=1)


def librosa_per_window(
    path: Path, sr: int | None = None, n_fft: int = 2048, hop_length: int = 512
) -> np.ndarray:
    """Return (n_windows, n_features): librosa's features called anew for every 4 s, each 2 s."""
    y, rate = librosa.load(path, sr=sr)
    length, hop = 4 * int(rate), 2 * int(rate)
    rows = []
    for start in range(0, len(y) - length + 1, hop):
        window = y[start : start + length]
        mfcc = librosa.feature.mfcc(y=window, sr=rate, n_mfcc=20, n_fft=n_fft, hop_length=hop_length)
        contrast = librosa.feature.spectral_contrast(y=window, sr=rate, n_fft=n_fft, hop_length=hop_length)
        magnitude = np.abs(librosa.stft(window, n_fft=n_fft, hop_length=hop_length))
        rows.append(np.concatenate([_statistics(values) for values in (mfcc, contrast, magnitude)]))
    return np.array(rows)


def librosa_shared_stft(
    path: Path,
    sr: int | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    window: WindowSettings = FOUR_SECONDS,
) -> np.ndarray:
    """Return (n_windows, n_features): librosa's features from one transform of the recording."""
    y, rate = librosa.load(path, sr=sr)
    magnitude = np.abs(librosa.stft(y, n_fft=n_fft, hop_length=hop_length))
    log_mel = librosa.power_to_db(librosa.feature.melspectrogram(S=magnitude**2, sr=rate), top_db=None)
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=20)
    contrast = librosa.feature.spectral_contrast(S=magnitude, sr=rate)
    length, hop = window.in_frames(rate / hop_length)
    return np.array(
        [
            np.concatenate([_statistics(v[:, start : start + length]) for v in (mfcc, contrast, log_mel)])
            for start in range(0, magnitude.shape[1] - length + 1, hop)
        ]
    )


def opensmile_descriptors() -> Callable[[Path], Any] | None:
    """Return what gives a file's ComParE 2016 low-level descriptors; None if openSMILE is not installed."""
    try:
        import opensmile
    except ImportError:
        return None
    smile = opensmile.Smile(
        opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.LowLevelDescriptors, num_workers=1
    )
    return smile.process_file


def one_vs_rest(X: np.ndarray, Y: np.ndarray, params: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Fit scikit-learn's OneVsRestClassifier for each species on its known rows; return what predicts.

    Parameters
    ----------
    X : (n_windows, n_features).
    Y : (n_windows, n_species) of 1, 0 and nan.
    params : of LGBMClassifier.
    """
    models = []
    for y in Y.T:
        known = ~np.isnan(y)
        estimator = lgb.LGBMClassifier(**params, verbosity=-1)
        models.append(OneVsRestClassifier(estimator).fit(X[known], y[known].astype(int)))
    return lambda windows: np.column_stack([model.predict_proba(windows)[:, 1] for model in models])


def bare_gru(x: torch.Tensor, batch_size: int, hidden_size: int) -> None:
    """Run `torch.nn.GRU` alone forward and backward over (n_windows, n_steps, n_bands) windows."""
    gru = torch.nn.GRU(x.shape[2], hidden_size, batch_first=True, bidirectional=True)
    for batch in x.split(batch_size):
        gru.zero_grad(set_to_none=True)
        gru(batch)[0].sum().backward()


def _statistics(values: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [values.mean(axis=1), values.std(axis=1), *np.percentile(values, [50, 90, 99], axis=1)]
    )
