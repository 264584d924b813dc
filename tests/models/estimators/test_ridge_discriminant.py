from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from models.estimators.ridge_discriminant import RidgeDiscriminant


def windows(n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels of two species; each of 40 features is weak, and has a different scale."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 2)) < 0.1).astype(float)
    X = rng.normal(size=(n, 40))
    X += 3 * rng.normal(size=(n, 1))  # noise that all features share
    X[:, :20] += 0.5 * Y[:, :1]
    X[:, 20:] += 0.5 * Y[:, 1:]
    return (X * np.logspace(-3, 3, 40) + 50).astype(np.float32), Y


def test_direction_is_that_of_fishers_discriminant() -> None:
    X, Y = windows()
    model = RidgeDiscriminant(alpha=1e-3).fit(X, Y)
    fisher = LinearDiscriminantAnalysis().fit(X, Y[:, 0])
    found, expected = model.coef_[0] * X.std(axis=0), fisher.coef_[0] * X.std(axis=0)
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.999
    # Both models return log odds, so the norms of their coefficients are similar.
    assert 0.5 < np.linalg.norm(found) / np.linalg.norm(expected) < 2


def test_direction_is_that_of_scikit_learns_ridge() -> None:
    X, Y = windows(300)
    Y[:100] = np.nan
    weight = np.where(np.isnan(Y).all(axis=1), 0.1, 1.0)
    Z = np.clip(StandardScaler().fit(X, sample_weight=weight).transform(X), -4, 4)
    expected = Ridge(20.0).fit(Z, Y == 1, sample_weight=weight).coef_
    model = RidgeDiscriminant(20.0).fit(X, Y)
    for found, reference in zip(model.coef_ * model.scale_, expected, strict=True):
        ratio = np.linalg.norm(found) / np.linalg.norm(reference)  # set by the logistic regression
        np.testing.assert_allclose(found, ratio * reference, atol=1e-4 * np.abs(found).max())


def test_mean_probability_is_the_share_of_positives() -> None:
    X, Y = windows()
    P = RidgeDiscriminant().fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P.mean(axis=0), Y.mean(axis=0), atol=0.01)


def test_window_of_another_species_is_a_full_negative() -> None:
    X, Y = windows(500)
    partial = np.where(Y == 1, 1.0, np.nan)
    with_zeros = partial.copy()
    with_zeros[(Y == 1).any(axis=1)] = Y[(Y == 1).any(axis=1)]
    of_partial, of_zeros = (RidgeDiscriminant().fit(X, labels) for labels in (partial, with_zeros))
    # The directions are the same; the logistic regressions use different weights.
    for a, b in zip(of_partial.coef_, of_zeros.coef_, strict=True):
        np.testing.assert_allclose(a / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-6)


def test_species_of_one_class_has_constant_scores() -> None:
    X, Y = windows(200)
    Y[:, 1] = np.nan
    P = RidgeDiscriminant().fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P[:, 1], 0.5 / 201)
    assert len(np.unique(P[:, 0])) > 100


def test_unknown_labels_give_constant_scores() -> None:
    X, Y = windows(50)
    P = RidgeDiscriminant(weak_negative_weight=0.0).fit(X, np.full(Y.shape, np.nan)).predict_proba(X)
    np.testing.assert_allclose(P, 0.5 / 51)


def test_features_are_clipped_to_four_deviations() -> None:
    X, Y = windows(500)
    model = RidgeDiscriminant().fit(X, Y)
    far, bound = (X.mean(axis=0) + n * X.std(axis=0)[None] for n in (1e6, 5))
    np.testing.assert_allclose(model.decision_function(far), model.decision_function(bound))


def test_constant_features_give_finite_scores() -> None:
    P = RidgeDiscriminant().fit(np.ones((6, 2)), np.eye(6)[:, :1]).predict_proba(np.ones((1, 2)))
    assert 0 < P[0, 0] < 0.5


def test_saved_discriminant_scores_the_same(tmp_path: Path) -> None:
    X, Y = windows(200)
    model = RidgeDiscriminant().fit(X, Y)
    model.save(tmp_path)
    loaded = RidgeDiscriminant.load(tmp_path, 40, 2)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="'coef' is not a finite array for 41 features and 2 species"):
        RidgeDiscriminant.load(tmp_path, 41, 2)
    np.savez(
        tmp_path / "linear.npz",
        coef=np.full((2, 40), np.nan),
        intercept=np.zeros(2),
        mean=np.zeros(40),
        scale=np.ones(40),
    )
    with pytest.raises(ValueError, match="'coef' is not a finite array"):
        RidgeDiscriminant.load(tmp_path, 40, 2)
