import numpy as np
import pytest
from scipy.special import expit, logit

from models.metrics import lrap
from models.scoring.prevalence import estimate_prevalence, with_prevalence

PRIOR = 0.1
SHARES = np.array([0.02, 0.1, 0.5, 0.9])


def scores(shares: np.ndarray, n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities calibrated for a prevalence of PRIOR, and truth with the prevalences `shares`."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, len(shares))) < shares).astype(float)
    x = rng.normal(2 * Y, 1)  # log likelihood ratio: 2 x - 2
    return expit(2 * x - 2 + logit(PRIOR)), Y


def test_prevalence_of_new_recordings_is_estimated() -> None:
    P, _ = scores(SHARES)
    np.testing.assert_allclose(estimate_prevalence(P, PRIOR, 0.0), SHARES, atol=0.03)
    assert (estimate_prevalence(P, PRIOR) > PRIOR).tolist()[2:] == [True, True]


def test_lrap_rises_if_prevalence_shifts_and_hardly_falls_otherwise() -> None:
    def gain(shares: np.ndarray) -> float:
        P, Y = scores(shares, n=150)
        return lrap(Y, with_prevalence(P, PRIOR, estimate_prevalence(P, PRIOR))) - lrap(Y, P)

    assert gain(np.tile(SHARES, 3)) > 0.05
    assert gain(np.full(8, PRIOR)) > -0.02


def test_estimate_equals_slow_reference() -> None:
    P, _ = scores(SHARES, n=40)
    found = estimate_prevalence(P, PRIOR, 5.0)
    for k, p in enumerate(P.T):
        share = PRIOR
        for _ in range(1000):
            expected = 0.0
            for value in p:
                present, absent = value * share / PRIOR, (1 - value) * (1 - share) / (1 - PRIOR)
                expected += present / (present + absent)
            share = (expected + 5 * PRIOR) / (len(p) + 5)
        assert found[k] == pytest.approx(share, abs=1e-4)


def test_large_strength_does_not_change_the_scores() -> None:
    P, _ = scores(SHARES, n=50)
    prevalence = estimate_prevalence(P, PRIOR, 1e9)
    np.testing.assert_allclose(prevalence, PRIOR, atol=1e-6)
    np.testing.assert_allclose(with_prevalence(P, PRIOR, prevalence), P, atol=1e-5)


def test_order_of_recordings_is_kept() -> None:
    P, _ = scores(SHARES, n=100)
    adjusted = with_prevalence(P, PRIOR, SHARES)
    np.testing.assert_array_equal(np.argsort(adjusted, axis=0), np.argsort(P, axis=0))
