from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant
from tests.models.estimators.test_ridge_discriminant import windows


def trees_and_linear(weights: list[float] | None = None) -> LogOddsMean:
    trees = OneVsRestGBM(n_estimators=20, feature_fraction=0.8)
    return LogOddsMean([("trees", trees), ("linear", RidgeDiscriminant())], weights)


def parts(X: np.ndarray, Y: np.ndarray) -> tuple[OneVsRestGBM, RidgeDiscriminant]:
    """Return the fitted estimators of `trees_and_linear`."""
    (_, trees), (_, linear) = trees_and_linear().estimators
    return trees.fit(X, Y), linear.fit(X, Y)


@pytest.mark.parametrize("weights", [None, [3.0, 1.0]])
def test_scores_and_explanations_are_weighted_means(weights: list[float] | None) -> None:
    X, Y = windows(500)
    model = trees_and_linear(weights).fit(X, Y)
    trees, linear = parts(X, Y)
    share = 0.5 if weights is None else 0.25
    for found, of_trees, of_linear in (
        (model.decision_function(X), trees.decision_function(X), linear.decision_function(X)),
        (model.importance(), trees.importance(), linear.importance()),
        (model.contributions(X, 1), trees.contributions(X, 1), linear.contributions(X, 1)),
    ):
        np.testing.assert_allclose(found, (1 - share) * of_trees + share * of_linear, atol=1e-9)
    P = model.predict_proba(X)
    np.testing.assert_allclose(np.log(P / (1 - P)), model.decision_function(X), atol=1e-6)


def test_equal_weights_do_not_change_the_last_bits() -> None:
    X, Y = windows(500)
    trees, linear = (estimator.decision_function(X) for estimator in parts(X, Y))
    found = trees_and_linear().fit(X, Y).decision_function(X)
    np.testing.assert_array_equal(found, trees + 0.5 * (linear - trees))


def test_mean_of_three_estimators_equals_weighted_average() -> None:
    X, Y = windows(300)
    estimators = [(f"linear{alpha:g}", RidgeDiscriminant(alpha)) for alpha in (1.0, 30.0, 1000.0)]
    scores = [clone(estimator).fit(X, Y).decision_function(X) for _, estimator in estimators]
    found = LogOddsMean(estimators, [1, 2, 5]).fit(X, Y).decision_function(X)
    np.testing.assert_allclose(found, np.average(scores, axis=0, weights=[1, 2, 5]))


def test_discriminant_improves_trees_if_many_features_are_weak() -> None:
    X, Y = windows()
    X_new, Y_new = windows(seed=1)

    def auc(model: LogOddsMean | OneVsRestGBM) -> float:
        P = model.fit(X, Y).predict_proba(X_new)
        return float(np.mean([roc_auc_score(Y_new[:, k], P[:, k]) for k in range(2)]))

    trees = OneVsRestGBM(n_estimators=60)
    assert auc(LogOddsMean([("trees", trees), ("linear", RidgeDiscriminant())])) > auc(trees) + 0.02


def test_parameters_of_estimators_are_set_by_name() -> None:
    X, Y = windows(200)
    model = trees_and_linear().set_params(trees__n_estimators=3, linear__alpha=7.0)
    copy = clone(model)
    assert copy.get_params()["trees__n_estimators"] == 3
    assert copy.fit(X, Y).estimators_[1].alpha == 7.0
    assert copy.estimators_[0] is not copy.estimators[0][1]  # the original is not fitted
    replaced = copy.set_params(linear=RidgeDiscriminant(8.0))
    assert replaced.get_params()["linear__alpha"] == 8.0


def test_mean_of_loaded_estimators_scores_the_same(tmp_path: Path) -> None:
    X, Y = windows(200)
    model = trees_and_linear().fit(X, Y)
    for estimator in model.estimators_:
        estimator.save(tmp_path)
    trees = OneVsRestGBM.load(tmp_path)
    linear = RidgeDiscriminant.load(tmp_path, trees.n_features_in_, trees.n_species_)
    loaded = LogOddsMean.of_fitted([("trees", trees), ("linear", linear)])
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert (loaded.n_features_in_, loaded.n_species_) == (model.n_features_in_, model.n_species_)


def test_fitted_estimators_of_different_shapes_are_rejected() -> None:
    X, Y = windows(200)
    full, narrow = RidgeDiscriminant().fit(X, Y), RidgeDiscriminant().fit(X[:, :5], Y)
    with pytest.raises(ValueError, match=r"differ in \(n_features, n_species\): .*'narrow': \(5, 2\)"):
        LogOddsMean.of_fitted([("full", full), ("narrow", narrow)])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, np.nan]])
def test_invalid_weights_are_rejected(weights: list[float]) -> None:
    with pytest.raises(
        ValueError, match=r"weights is .*; give a positive number for each of the 2 estimators"
    ):
        trees_and_linear(weights).fit(*windows(50))


def test_invalid_use_is_rejected() -> None:
    X, Y = windows(50)
    with pytest.raises(ValueError, match="estimators is empty"):
        LogOddsMean([]).fit(X, Y)
    with pytest.raises(ValueError, match="not unique"):
        LogOddsMean([("same", RidgeDiscriminant()), ("same", RidgeDiscriminant())]).fit(X, Y)
    with pytest.raises(NotFittedError):
        trees_and_linear().predict_proba(X)
    with pytest.raises(ValueError, match="X has 5 features, but LogOddsMean is expecting 40"):
        trees_and_linear().fit(X, Y).predict_proba(X[:, :5])
