import numpy as np
from sklearn.linear_model import LogisticRegression

from models.logistic import IDENTITY, MIN_SLOPE, fit_logistic, logit


def examples(n: int = 300, slope: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, labels whose log odds have the given slope, and weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-slope * x - 0.5))).astype(float)
    return x, y, rng.uniform(0.5, 2, n)


def test_fit_without_prior_equals_sklearn() -> None:
    x, y, weight = examples()
    found = fit_logistic(x, y, weight, prior=IDENTITY, precision=1e-9)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y, weight)
    np.testing.assert_allclose(found, [reference.coef_[0, 0], reference.intercept_[0]], rtol=1e-4)


def test_strong_prior_is_returned() -> None:
    x, y, weight = examples()
    prior = np.array([2.0, -1.0])
    np.testing.assert_allclose(fit_logistic(x, y, weight, prior=prior, precision=1e9), prior, atol=1e-4)


def test_slope_is_never_negative() -> None:
    x, y, weight = examples(slope=-2.0)
    assert fit_logistic(x, y, weight, prior=IDENTITY, precision=1e-3)[0] == MIN_SLOPE


def test_examples_with_weight_0_are_ignored() -> None:
    x, y, weight = examples()
    expected = fit_logistic(x[:200], y[:200], weight[:200], prior=IDENTITY, precision=1.0)
    y[200:], weight[200:] = np.nan, 0
    np.testing.assert_array_equal(fit_logistic(x, y, weight, prior=IDENTITY, precision=1.0), expected)


def test_logit_of_0_and_1_is_finite() -> None:
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
