"""Reference implementations compute the same kind of result as the code that they are compared with."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score

from features.frames.spectral import SpectralSettings
from pipelines.benchmarks import reference_implementations as reference
from tests.conftest import tone


def test_librosa_features_are_those_of_each_window(tmp_path: Path) -> None:
    file = tmp_path / "x.flac"
    soundfile.write(file, tone(3000, 9.0, 48_000), 48_000)
    settings = SpectralSettings()
    n_bins = 1 + settings.n_fft // 2
    n_statistics = 5
    per_window = reference.librosa_per_window(
        file, settings.sr, n_fft=settings.n_fft, hop_length=settings.hop_length
    )
    assert per_window.shape == (3, n_statistics * (20 + 7 + n_bins))  # at 0, 2 and 4 s
    mean_magnitude = per_window[:, n_statistics * 27 :][:, :n_bins]
    assert (mean_magnitude.argmax(axis=1) == round(3000 / settings.sr * settings.n_fft)).all()
    shared = reference.librosa_shared_stft(file)
    assert shared.shape == (3, n_statistics * (20 + 7 + 128))


def test_one_vs_rest_is_fitted_on_known_rows_only() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(float)
    hidden = rng.random(Y.shape) < 0.5
    P = reference.one_vs_rest(X, np.where(hidden, np.nan, Y), {"n_estimators": 20, "n_jobs": 1})(X)
    assert ((P > 0.5) == Y).mean() > 0.9
    moved = np.where(hidden, np.nan, Y)
    moved[hidden[:, 0], 1] = np.nan  # unknown labels of one species do not affect another
    again = reference.one_vs_rest(X, moved, {"n_estimators": 20, "n_jobs": 1})(X)
    np.testing.assert_array_equal(P[:, 0], again[:, 0])


@pytest.mark.parametrize("at_once", [True, False])
def test_peer_takes_unknown_labels_as_weak_negatives(at_once: bool) -> None:
    rng = np.random.default_rng(0)
    X, X_new = rng.normal(size=(2, 800, 5))
    truth, truth_new = (x[:, :2] > 1 for x in (X, X_new))
    Y = np.where(rng.random(truth.shape) < 0.3, truth, np.nan)
    Y[:, 1] = np.where(Y[:, 1] == 1, np.nan, Y[:, 1])  # without a positive
    forest = ExtraTreesClassifier(50, min_samples_leaf=20, random_state=0)
    P = reference.Peer(forest, at_once).fit(X, Y).predict_proba(X_new)
    assert P.shape == Y.shape
    assert (P[:, 1] == 0).all()
    assert roc_auc_score(truth_new[:, 0], P[:, 0]) > 0.9
    unknown = reference.Peer(forest, at_once, weak_negative_weight=1.0).fit(X, Y).predict_proba(X_new)
    assert unknown[:, 0].mean() < P[:, 0].mean()


def test_classical_peers_return_probabilities() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 8)).astype(np.float16)
    Y = (X[:, :3] > 0.5).astype(np.float32)
    for name, peer in reference.classical_peers(0, 1).items():
        P = peer.fit(X, Y).predict_proba(X)
        assert P.shape == Y.shape, name
        assert P.min() >= 0, name
        assert P.max() <= 1, name
        assert roc_auc_score(Y[:, 0], P[:, 0]) > 0.9, name
