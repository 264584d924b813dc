from pathlib import Path

import numpy as np
import pytest
import torch

from features.common.errors import UserError
from models.estimators.mlp import MLPClassifier
from models.metrics import lrap
from tests.models.estimators.windows import windows

FAST = {"hidden_size": 16, "batch_size": 32, "learning_rate": 1e-2, "device": "cpu"}


def columns(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the maximum of each band in windows with calls, the labels, and the truth of the recordings."""
    X, Y, truth = windows(seed=seed)
    return X.max(axis=1).astype(np.float32), Y, truth


def test_mlp_learns_the_calls() -> None:
    X, Y, _ = columns()
    model = MLPClassifier(epochs=25, **FAST).fit(X, Y)  # type: ignore[arg-type]
    X, _, truth = columns(seed=1)
    P = model.predict_proba(X).reshape(len(truth), 3, 3).max(axis=1)
    assert lrap(truth, P) > 0.9  # random scores have an LRAP of 0.61


def test_extreme_columns_are_limited() -> None:
    X, Y, _ = columns()
    model = MLPClassifier(epochs=2, **FAST).fit(X, Y)  # type: ignore[arg-type]
    np.testing.assert_array_equal(model.predict_proba(X + 1e4), model.predict_proba(X + 1e6))


def test_saved_model_scores_the_same(tmp_path: Path) -> None:
    X, Y, _ = columns()
    model = MLPClassifier(epochs=2, **FAST).fit(X, Y)  # type: ignore[arg-type]
    model.save(tmp_path / "network0.pt")
    loaded = MLPClassifier.load(tmp_path / "network0.pt")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.get_params() == model.get_params()

    stored = torch.load(tmp_path / "network0.pt", weights_only=True)
    stored["params"]["hidden_size"] = 10**9
    torch.save(stored, tmp_path / "network0.pt")
    with pytest.raises(UserError, match="hidden_size 1000000000 does not match the weights"):
        MLPClassifier.load(tmp_path / "network0.pt")


@pytest.mark.parametrize("n_windows", [33, 65])
def test_no_batch_has_a_single_window(n_windows: int) -> None:
    # Batch normalisation cannot normalise a single window.
    X, Y, _ = columns()
    MLPClassifier(epochs=1, **FAST).fit(X[:n_windows], np.nan_to_num(Y[:n_windows]))  # type: ignore[arg-type]
