from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant


def windows(n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two species that a sum of forty noisy columns tells, each column hardly; in units far apart."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 2)) < 0.1).astype(float)
    X = rng.normal(size=(n, 40))
    X += 3 * rng.normal(size=(n, 1))  # what all columns share tells nothing
    X[:, :20] += 0.5 * Y[:, :1]
    X[:, 20:] += 0.5 * Y[:, 1:]
    return (X * np.logspace(-3, 3, 40) + 50).astype(np.float32), Y


def test_it_points_where_fishers_discriminant_does() -> None:
    X, Y = windows()
    model = RidgeDiscriminant(alpha=1e-3).fit(X, Y)
    fisher = LinearDiscriminantAnalysis().fit(X, Y[:, 0])
    ours, theirs = model.coef_[0] * X.std(axis=0), fisher.coef_[0] * X.std(axis=0)
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.999
    # The slope is a logistic regression's, so the log odds are of the same size.
    assert 0.5 < np.linalg.norm(ours) / np.linalg.norm(theirs) < 2


def test_probabilities_are_as_many_as_there_are_positives() -> None:
    X, Y = windows()
    P = RidgeDiscriminant().fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P.mean(axis=0), Y.mean(axis=0), atol=0.01)


def test_a_sum_of_many_columns_is_where_it_helps_the_trees() -> None:
    X, Y = windows()
    X_new, Y_new = windows(seed=1)

    def auc(share: float) -> float:
        model = OneVsRestGBM(n_estimators=60, linear_share=share).fit(X, Y)
        return float(
            np.mean([roc_auc_score(Y_new[:, k], model.predict_proba(X_new)[:, k]) for k in range(2)])
        )

    assert auc(0.5) > auc(0.0) + 0.02


def test_the_gbm_is_the_mean_of_both_in_log_odds() -> None:
    X, Y = windows(500)
    trees = OneVsRestGBM(n_estimators=20, linear_share=0).fit(X, Y).predict_proba(X)
    linear = RidgeDiscriminant().fit(X, Y).decision_function(X)
    both = OneVsRestGBM(n_estimators=20, linear_share=0.25).fit(X, Y).predict_proba(X)
    expected = 0.75 * np.log(trees / (1 - trees)) + 0.25 * linear
    np.testing.assert_allclose(np.log(both / (1 - both)), expected, atol=1e-6)


def test_a_window_of_another_species_is_a_full_negative() -> None:
    X, Y = windows(500)
    partial = np.where(Y == 1, 1.0, np.nan)
    told = partial.copy()
    told[(Y == 1).any(axis=1)] = Y[(Y == 1).any(axis=1)]
    of_partial, of_told = (RidgeDiscriminant().fit(X, labels) for labels in (partial, told))
    # The direction is the same; the curve on it knows what is known.
    for a, b in zip(of_partial.coef_, of_told.coef_, strict=True):
        np.testing.assert_allclose(a / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-6)


def test_a_species_of_one_class_is_a_constant() -> None:
    X, Y = windows(200)
    Y[:, 1] = np.nan
    P = RidgeDiscriminant().fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P[:, 1], 0.5 / 201)
    assert len(np.unique(P[:, 0])) > 100


def test_nothing_known_is_nothing_learned() -> None:
    X, Y = windows(50)
    P = RidgeDiscriminant(weak_negative_weight=0.0).fit(X, np.full(Y.shape, np.nan)).predict_proba(X)
    np.testing.assert_allclose(P, 0.5 / 51)


def test_a_window_unlike_all_of_training_is_no_surer_than_four_deviations_are() -> None:
    X, Y = windows(500)
    model = RidgeDiscriminant().fit(X, Y)
    far, bound = (X.mean(axis=0) + n * X.std(axis=0)[None] for n in (1e6, 5))
    np.testing.assert_allclose(model.decision_function(far), model.decision_function(bound))


def test_columns_that_never_vary_tell_nothing() -> None:
    P = RidgeDiscriminant().fit(np.ones((6, 2)), np.eye(6)[:, :1]).predict_proba(np.ones((1, 2)))
    assert 0 < P[0, 0] < 0.5


def test_a_saved_discriminant_scores_the_same(tmp_path: Path) -> None:
    X, Y = windows(200)
    model = RidgeDiscriminant().fit(X, Y)
    model.save(tmp_path)
    loaded = RidgeDiscriminant.load(tmp_path, 40, 2)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="no discriminant of 41 features and 2 species"):
        RidgeDiscriminant.load(tmp_path, 41, 2)
    np.savez(
        tmp_path / "linear.npz",
        coef=np.full((2, 40), np.nan),
        intercept=np.zeros(2),
        mean=np.zeros(40),
        scale=np.ones(40),
    )
    with pytest.raises(ValueError, match="no discriminant"):
        RidgeDiscriminant.load(tmp_path, 40, 2)
