"""Tests that apply to all estimators, including scikit-learn's estimator checks."""

from typing import Self

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from models.estimators.cnn import CNNClassifier
from models.estimators.gru import GRUClassifier
from models.estimators.labels import check_labels
from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.mlp import MLPClassifier
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant
from models.estimators.sequence_network import SequenceNetworkClassifier


def binary(Y: np.ndarray | None) -> np.ndarray | None:
    """Return labels of two classes; scikit-learn's checks use three classes, which are not valid here."""
    return None if Y is None else np.asarray(Y) > 0


class AnyClassesGBM(OneVsRestGBM):
    def fit(self, X: np.ndarray, Y: np.ndarray | None) -> Self:
        return super().fit(X, binary(Y))


class AnyClassesDiscriminant(RidgeDiscriminant):
    def fit(self, X: np.ndarray, Y: np.ndarray | None) -> Self:
        return super().fit(X, binary(Y))


class AnyClassesMean(LogOddsMean):
    def fit(self, X: np.ndarray, Y: np.ndarray | None) -> Self:
        return super().fit(X, binary(Y))


class AnyClassesMLP(MLPClassifier):
    def fit(self, X: np.ndarray, Y: np.ndarray | None) -> Self:
        return super().fit(X, binary(Y))


def trees_and_linear() -> list[tuple[str, BaseEstimator]]:
    return [("trees", OneVsRestGBM(n_estimators=5)), ("linear", RidgeDiscriminant())]


# The checks use two-dimensional arrays, so most of them do not apply to the recurrent network.
@parametrize_with_checks(
    [
        AnyClassesGBM(n_estimators=5),
        AnyClassesDiscriminant(),
        AnyClassesMean(trees_and_linear()),
        AnyClassesMLP(epochs=1, hidden_size=4),
        GRUClassifier(epochs=1, hidden_size=4),
    ]
)
def test_scikit_learn_checks_pass(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


@pytest.mark.parametrize(
    "model",
    [
        OneVsRestGBM(),
        RidgeDiscriminant(),
        LogOddsMean(trees_and_linear()),
        MLPClassifier(),
        GRUClassifier(),
        CNNClassifier(),
    ],
)
@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.full((4, 2), 2.0), "contains 2; use numbers from 0 to 1"),
        (np.zeros((3, 2)), "X has 4 windows but Y has 3"),
        (np.zeros(4), "2D array"),
    ],
)
def test_invalid_labels_are_rejected(model: BaseEstimator, Y: np.ndarray, message: str) -> None:
    X = np.zeros((4, 5, 3) if isinstance(model, SequenceNetworkClassifier) else (4, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_unknown_labels_are_accepted() -> None:
    Y = np.array([[1, 0], [np.nan, 1]], np.float32)
    np.testing.assert_array_equal(check_labels(Y, 2), Y)
