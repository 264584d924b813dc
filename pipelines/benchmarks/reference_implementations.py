"""Reference implementations: the same computations in the usual librosa, scikit-learn or torch code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import joblib
import librosa
import lightgbm as lgb
import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import soxr
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from features.frames.spectral import BLOCK, SpectralSettings
from features.frames.windows import WindowSettings
from models.estimators.labels import label_weights

FOUR_SECONDS = WindowSettings(length=4.0, hop=2.0)


def floor(path: Path, settings: SpectralSettings) -> None:
    """Decode and resample a file and transform its frames.

    The time of this function is a lower bound for every feature extractor that uses these frames.
    """
    y, sr = soundfile.read(path, dtype="float32")
    y = soxr.resample(y, sr, settings.sr)
    window = scipy.signal.get_window("hann", settings.n_fft).astype(np.float32)
    padded = np.pad(y, settings.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    for first in range(0, len(frames), BLOCK):
        scipy.fft.rfft(frames[first : first + BLOCK] * window, axis=1)


def librosa_per_window(
    path: Path, sr: int | None = None, *, n_fft: int = 2048, hop_length: int = 512
) -> np.ndarray:
    """Return features, (n_windows, n_features), with librosa called on each window of 4 s, hop 2 s."""
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
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    window: WindowSettings = FOUR_SECONDS,
) -> np.ndarray:
    """Return features, (n_windows, n_features), with one librosa transform of the whole recording."""
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
    """Return a function from an audio file to its ComParE 2016 descriptors; None without openSMILE."""
    try:
        import opensmile
    except ImportError:
        return None
    smile = opensmile.Smile(
        opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.LowLevelDescriptors, num_workers=1
    )
    return smile.process_file


def one_vs_rest(X: np.ndarray, Y: np.ndarray, params: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a prediction function: one OneVsRestClassifier per species, fitted on its labelled windows.

    Parameters
    ----------
    X : (n_windows, n_features).
    Y : (n_windows, n_species) of 1, 0 and nan.
    params : parameters of LGBMClassifier.
    """
    models = []
    for y in Y.T:
        known = ~np.isnan(y)
        estimator = lgb.LGBMClassifier(**params, verbosity=-1)
        models.append(OneVsRestClassifier(estimator).fit(X[known], y[known].astype(int)))
    return lambda windows: np.column_stack([model.predict_proba(windows)[:, 1] for model in models])


class Peer(BaseEstimator):
    """A scikit-learn estimator for several labels per window. Unknown labels are weak negatives.

    Parameters
    ----------
    estimator : regressor or classifier of one species, or of all species if `at_once`. In the latter case the
        weight of a window is 1 if any of its labels is known.
    at_once : whether the estimator takes the labels of all species.
    weak_negative_weight : weight of an unknown label in a window without a call, as in `OneVsRestGBM`.
    n_jobs : number of species fitted in parallel, unless `at_once`.
    """

    def __init__(
        self, estimator: Any, at_once: bool, *, weak_negative_weight: float = 0.1, n_jobs: int = 1
    ) -> None:
        self.estimator = estimator
        self.at_once = at_once
        self.n_jobs = n_jobs
        self.weak_negative_weight = weak_negative_weight

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on X, (n_windows, n_features), and labels Y of 1, 0 and nan, (n_windows, n_species)."""
        X, label, weight = X.astype(np.float32), Y == 1, label_weights(Y, self.weak_negative_weight)
        if self.at_once:
            self.fitted_ = [clone(self.estimator).fit(X, label, sample_weight=weight.max(axis=1))]
        else:
            self.fitted_ = joblib.Parallel(n_jobs=self.n_jobs, prefer="threads")(
                joblib.delayed(self._fit_species)(X, y, w) for y, w in zip(label.T, weight.T, strict=True)
            )
        return self

    def _fit_species(self, X: np.ndarray, label: np.ndarray, weight: np.ndarray) -> Any:
        return clone(self.estimator).fit(X, label, sample_weight=weight) if label.any() else None

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return scores in [0, 1], shape (n_windows, n_species)."""
        X = X.astype(np.float32)
        if self.at_once:
            (fitted,) = self.fitted_
            if not hasattr(fitted, "predict_proba"):
                return np.clip(fitted.predict(X), 0, 1)
            # A species without a positive has one class only.
            return np.column_stack([1 - absent[:, 0] for absent in fitted.predict_proba(X)])
        none = np.zeros(len(X))
        return np.column_stack([none if f is None else f.predict_proba(X)[:, 1] for f in self.fitted_])


def classical_peers(seed: int, n_jobs: int) -> dict[str, Peer]:
    """Return classical models that are common for tabular data, by name."""
    forest = {"n_estimators": 500, "random_state": seed, "n_jobs": n_jobs}
    return {
        "ExtraTrees(500)": Peer(ExtraTreesClassifier(**forest), at_once=True),
        "RandomForest(500)": Peer(RandomForestClassifier(**forest), at_once=True),
        "default LightGBM": Peer(
            lgb.LGBMClassifier(random_state=seed, n_jobs=1, verbosity=-1), at_once=False, n_jobs=n_jobs
        ),
        "ridge": Peer(_Standardised(), at_once=True),
    }


class _Standardised(BaseEstimator):
    """Ridge regression on standardised features."""

    def fit(self, X: np.ndarray, Y: np.ndarray, sample_weight: np.ndarray) -> Self:
        self.scaler_ = StandardScaler().fit(X)
        self.ridge_ = Ridge(alpha=1000.0).fit(
            self.scaler_.transform(X), Y.astype(float), sample_weight=sample_weight
        )
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.ridge_.predict(self.scaler_.transform(X)))


def bare_gru(x: torch.Tensor, batch_size: int, hidden_size: int) -> None:
    """Run `torch.nn.GRU` forward and backward, without other layers, loss and optimiser.

    The shape of `x` is (n_windows, n_steps, n_mels).
    """
    gru = torch.nn.GRU(x.shape[2], hidden_size, batch_first=True, bidirectional=True)
    for batch in x.split(batch_size):
        gru.zero_grad(set_to_none=True)
        gru(batch)[0].sum().backward()


def _statistics(values: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [values.mean(axis=1), values.std(axis=1), *np.percentile(values, [50, 90, 99], axis=1)]
    )
