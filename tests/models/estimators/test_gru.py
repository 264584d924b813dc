from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import torch

from features.common.errors import UserError
from models.estimators.gru import CELLS, GRUClassifier, _dropout_mask, augment, weak_bce
from models.metrics import lrap

FAST = {"hidden_size": 16, "epochs": 12, "batch_size": 32}


def windows(n_recordings: int = 40, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return windows, labels and truth of recordings with three windows of 20 frames and 8 bands each.

    The call of species k is in band 2k and then in band 2k + 1.
    """
    rng = np.random.default_rng(seed)
    truth = np.eye(3)[np.arange(n_recordings) % 3]
    X = rng.normal(0, 1, (3 * n_recordings, 20, 8))
    Y = np.full((3 * n_recordings, 3), np.nan)
    for r in range(n_recordings):
        k, start = r % 3, rng.integers(0, 14)
        window = 3 * r + rng.integers(0, 3)
        X[window, start : start + 3, 2 * k] += 6
        X[window, start + 3 : start + 6, 2 * k + 1] += 6
        Y[window] = truth[r]
    return X.astype(np.float16), Y, truth


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


def test_scores_depend_only_on_the_seed() -> None:
    (first, X, _), (second, _, _), (other, _, _) = fit(), fit(), fit(random_state=1)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert not np.allclose(first.predict_proba(X), other.predict_proba(X))


def test_loss_decreases() -> None:
    model, _, _ = fit(epochs=20, mixup=0.0, learning_rate=1e-2)
    assert len(model.history_) == 20
    assert np.mean(model.history_[-5:]) < 0.7 * np.mean(model.history_[:5])


def test_saved_model_scores_the_same_and_contains_only_data(tmp_path: Path) -> None:
    model, X, _ = fit(cell="LSTM")
    model.save(tmp_path / "fold0.pt")
    loaded = GRUClassifier.load(tmp_path / "fold0.pt")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    torch.load(tmp_path / "fold0.pt", weights_only=True)


def test_network_can_be_shared_by_threads(tmp_path: Path) -> None:
    model, X, _ = fit(epochs=1)
    model.save(tmp_path / "model.pt")
    loaded = GRUClassifier.load(tmp_path / "model.pt")
    expected = loaded.predict_proba(X[:8])
    with ThreadPool(4) as pool:
        for found in pool.imap_unordered(loaded.predict_proba, [X[:8]] * 400):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
def test_dropout_mask_has_its_probability_and_mean_1(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(65, 25, 193)
    mask = _dropout_mask(x, p)
    assert float((mask == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(mask.mean()) == pytest.approx(1, abs=0.01)
    assert len(mask.unique()) == (1 if p == 0 else 2)
    assert p == 0 or not torch.equal(mask, _dropout_mask(x, p))


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


def test_weak_bce_equals_slow_reference() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, 4))
    labels = rng.choice([0.0, 1.0, np.nan], (7, 4))
    expected = 0.0
    for z, y in zip(logits.ravel(), labels.ravel(), strict=True):
        p = 1 / (1 + np.exp(-z))
        weight, target = (0.1, 0.0) if np.isnan(y) else (1.0, y)
        expected -= weight * (target * np.log(p) + (1 - target) * np.log(1 - p)) / 7
    found = weak_bce(torch.from_numpy(logits), torch.from_numpy(labels), 0.1)
    assert float(found) == pytest.approx(expected)


def test_overlay_is_the_maximum_and_combines_labels() -> None:
    nan = float("nan")
    x = torch.arange(12.0).reshape(2, 3, 2)
    y = torch.tensor([[1.0, 0.0, 0.0, nan, nan], [0.0, 0.0, nan, nan, 1.0]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        mixed, labels = augment(x, y, 1.0, generator=generator)
        # By chance, each window can be overlaid with itself; then the labels do not change.
        if not torch.equal(labels.nan_to_num(9), y.nan_to_num(9)):
            break
    expected = torch.tensor([1.0, 0.0, nan, nan, 1.0])
    for row in labels:
        torch.testing.assert_close(row, expected, equal_nan=True)
    kept = mixed != 0  # masks set ranges of frames and bands to 0
    assert torch.equal(mixed[kept], x[1].expand(2, 3, 2)[kept])
