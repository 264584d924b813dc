import numpy as np
import pytest
import torch

from models.estimators.cnn import ARCHITECTURES, CNNClassifier, Convolution
from models.metrics import lrap
from tests.models.estimators.windows import windows

FAST = {"channels": (8, 16, 16), "hidden_size": 16, "batch_size": 32, "learning_rate": 1e-2}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_learns_the_calls(arch: str) -> None:
    X, Y, _ = windows()
    model = CNNClassifier(arch=arch, epochs=25, **FAST).fit(X, Y)  # type: ignore[arg-type]
    X, _, truth = windows(seed=1)
    P = model.predict_proba(X).reshape(len(truth), 3, 3).max(axis=1)
    assert lrap(truth, P) > 0.85  # random scores have an LRAP of 0.61


def test_score_of_a_window_does_not_depend_on_the_others() -> None:
    X, Y, _ = windows()
    model = CNNClassifier(epochs=2, **FAST).fit(X, Y)  # type: ignore[arg-type]
    np.testing.assert_allclose(model.predict_proba(X)[:3], model.predict_proba(X[:3]), atol=1e-6)


def test_windows_shorter_than_the_pooling_are_scored() -> None:
    X, Y, _ = windows()
    model = CNNClassifier(epochs=1, **FAST).fit(X[:, :2], Y)  # type: ignore[arg-type]
    assert np.isfinite(model.predict_proba(X[:, :2])).all()


def test_convolution_scores_as_convolution_and_normalisation_do() -> None:
    torch.manual_seed(0)
    layer, x = Convolution(2, 3), torch.randn(8, 2, 6, 9)
    with torch.no_grad():
        layer(3 * x + 1)  # the running mean and variance differ from 0 and 1 after this
        layer.norm.weight.uniform_(0.5, 2)
        layer.norm.bias.uniform_(-1, 1)
        layer.eval()
        expected = layer.norm(layer.conv(x))
        found = layer(x)
    assert found.shape == (8, 3, 6, 9)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, layer.conv(x), atol=0.1)
