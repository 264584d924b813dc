"""What all networks share: training, storage, loss and augmentation."""

import zipfile
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import torch

from features.common.errors import UserError
from models.estimators.augmentation import augment
from models.estimators.cnn import CNNClassifier
from models.estimators.gru import GRUClassifier
from models.estimators.network import NetworkClassifier, weak_bce
from models.estimators.window_net import dropout_mask
from tests.models.estimators.windows import windows

FAST = {"epochs": 12, "batch_size": 32, "hidden_size": 16}
SMALL = {
    "LSTM": (GRUClassifier, {"cell": "LSTM"}),
    "GRU": (GRUClassifier, {}),
    "cnn": (CNNClassifier, {"channels": (4, 8, 8)}),
    "resnet": (CNNClassifier, {"channels": (4, 8, 8), "arch": "resnet"}),
}
"""Small networks of each kind: class and parameters."""


def make(kind: str, **params: object) -> NetworkClassifier:
    classifier, own = SMALL[kind]
    return classifier(**{**FAST, **own, **params})  # type: ignore[arg-type]


@pytest.fixture(params=SMALL)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_scores_depend_only_on_the_seed(kind: str) -> None:
    X, Y, _ = windows()
    first, second, other = (make(kind, random_state=seed, epochs=2).fit(X, Y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert not np.allclose(first.predict_proba(X), other.predict_proba(X))


def test_saved_model_scores_the_same_and_contains_only_data(kind: str, tmp_path: Path) -> None:
    X, Y, _ = windows()
    model = make(kind, epochs=2).fit(X, Y)
    model.save(tmp_path / "fold0.pt")
    loaded = type(model).load(tmp_path / "fold0.pt")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    torch.load(tmp_path / "fold0.pt", weights_only=True)


def test_parameters_that_do_not_match_the_weights_are_rejected(kind: str, tmp_path: Path) -> None:
    X, Y, _ = windows()
    make(kind, epochs=1).fit(X, Y).save(tmp_path / "fold0.pt")
    stored = torch.load(tmp_path / "fold0.pt", weights_only=True)
    stored["params"]["hidden_size"] = 10**9
    torch.save(stored, tmp_path / "fold0.pt")
    with pytest.raises(UserError, match="hidden_size 1000000000 does not match the weights"):
        SMALL[kind][0].load(tmp_path / "fold0.pt")


def test_weights_that_share_their_memory_are_rejected(kind: str, tmp_path: Path) -> None:
    """A small file could otherwise state a network of many gigabytes."""
    X, Y, _ = windows()
    make(kind, epochs=1).fit(X, Y).save(tmp_path / "fold0.pt")
    stored = torch.load(tmp_path / "fold0.pt", weights_only=True)
    stored["state"]["heads.weight"] = torch.zeros(1, 1).expand(4, 10**6)
    torch.save(stored, tmp_path / "fold0.pt")
    with pytest.raises(UserError, match=r"fold0\.pt: not a valid network .*its weights would need \d+ bytes"):
        SMALL[kind][0].load(tmp_path / "fold0.pt")


def test_compressed_weights_are_rejected(kind: str, tmp_path: Path) -> None:
    X, Y, _ = windows()
    make(kind, epochs=1).fit(X, Y).save(tmp_path / "stored.pt")
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as stored,
        zipfile.ZipFile(tmp_path / "fold0.pt", "w", zipfile.ZIP_DEFLATED) as compressed,
    ):
        for part in stored.namelist():
            compressed.writestr(part, stored.read(part))
    with pytest.raises(UserError, match=r"fold0\.pt: not a valid network .* is compressed"):
        SMALL[kind][0].load(tmp_path / "fold0.pt")


@pytest.mark.parametrize(("stored", "loaded"), [("cuda", "auto"), ("meta", "auto"), ("cpu", "cpu")])
def test_device_of_training_is_not_needed_for_loading(
    kind: str, tmp_path: Path, stored: str, loaded: str
) -> None:
    X, Y, _ = windows()
    make(kind, epochs=1).fit(X, Y).save(tmp_path / "fold0.pt")
    content = torch.load(tmp_path / "fold0.pt", weights_only=True)
    content["params"]["device"] = stored
    torch.save(content, tmp_path / "fold0.pt")
    assert SMALL[kind][0].load(tmp_path / "fold0.pt").device == loaded


def test_network_can_be_shared_by_threads(kind: str, tmp_path: Path) -> None:
    X, Y, _ = windows()
    make(kind, epochs=1).fit(X, Y).save(tmp_path / "model.pt")
    loaded = SMALL[kind][0].load(tmp_path / "model.pt")
    expected = loaded.predict_proba(X[:8])
    with ThreadPool(4) as pool:
        for found in pool.imap_unordered(loaded.predict_proba, [X[:8]] * 100):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
def test_dropout_mask_has_its_probability_and_mean_1(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(65, 25, 193)
    mask = dropout_mask(x, p)
    assert float((mask == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(mask.mean()) == pytest.approx(1, abs=0.01)
    assert len(mask.unique()) == (1 if p == 0 else 2)
    assert p == 0 or not torch.equal(mask, dropout_mask(x, p))


def test_weak_bce_equals_slow_reference() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 4))
    labels = rng.choice([0.0, 1.0, 0.6, np.nan], (20, 4), p=[0.3, 0.1, 0.2, 0.4])
    assert len(set(np.nanmax(labels, axis=1))) == 3  # without a call, with one, and with a soft label
    expected = 0.0
    for window, y_window in zip(logits, labels, strict=True):
        for z, y in zip(window, y_window, strict=True):
            p = 1 / (1 + np.exp(-z))
            unknown_weight = 0.1 + 0.4 * np.nanmax(y_window)
            weight, target = (unknown_weight, 0.0) if np.isnan(y) else (1.0, y)
            expected -= weight * (target * np.log(p) + (1 - target) * np.log(1 - p)) / 20
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
