import numpy as np
import pytest
import torch

from features.common.errors import UserError
from models.estimators.gru import CELLS, GRUClassifier
from models.metrics import lrap
from tests.models.estimators.windows import windows

FAST = {"hidden_size": 16, "epochs": 12, "batch_size": 32}


def fit(**params: object) -> tuple[GRUClassifier, np.ndarray, np.ndarray]:
    X, Y, _ = windows()
    model = GRUClassifier(**{**FAST, **params})  # type: ignore[arg-type]
    return model.fit(X, Y), X, Y


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns_the_calls(cell: str) -> None:
    model, _, _ = fit(cell=cell, epochs=25, learning_rate=1e-2)
    X, _, truth = windows(seed=1)
    P = model.predict_proba(X).reshape(len(truth), 3, 3).max(axis=1)
    assert lrap(truth, P) > 0.85  # random scores have an LRAP of 0.61
    assert P.min() >= 0
    assert P.max() <= 1


def test_loss_decreases() -> None:
    model, _, _ = fit(epochs=20, mixup=0.0, learning_rate=1e-2)
    assert len(model.history_) == 20
    assert np.mean(model.history_[-5:]) < 0.7 * np.mean(model.history_[:5])


def test_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device 'cuda'.* --device cpu or --device auto"):
        fit(device="cuda")


def test_initial_scores_are_the_base_rates() -> None:
    X, Y, _ = windows()
    Y[:, 0] = np.where(np.isnan(Y[:, 0]), 0, Y[:, 0])
    model = GRUClassifier(**{**FAST, "epochs": 1, "learning_rate": 1e-9}).fit(X, Y)  # type: ignore[arg-type]
    rare, *others = model.predict_proba(X).mean(axis=0)
    assert rare < 0.2 < min(others)


@pytest.mark.parametrize("batch_size", [7, 11, 14, 17, 22, 1000])
def test_few_training_steps_are_possible(batch_size: int) -> None:
    model, X, _ = fit(epochs=1, batch_size=batch_size)
    assert np.isfinite(model.predict_proba(X)).all()


def test_training_without_known_labels_is_an_error() -> None:
    X, Y, _ = windows()
    with pytest.raises(UserError, match=r"none of the \d+ training windows has a known label; add"):
        GRUClassifier().fit(X, np.full_like(Y, np.nan))


def test_silent_bands_give_finite_scores() -> None:
    X, Y, _ = windows()
    X[:, :, 5] = 0
    model = GRUClassifier(**FAST).fit(X, Y)  # type: ignore[arg-type]
    assert np.isfinite(model.predict_proba(X)).all()
