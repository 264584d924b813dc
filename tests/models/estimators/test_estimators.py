"""The models against scikit-learn's own checks of estimators."""

from typing import Self

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from models.estimators.gru import GRUClassifier
from models.estimators.labels import check_labels
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant


class AnyClassesGBM(OneVsRestGBM):
    """The GBM on the checks' labels, which are of three classes; ours are 1, 0 and nan."""

    def fit(self, X: np.ndarray, Y: np.ndarray | None) -> Self:
        return super().fit(X, None if Y is None else np.asarray(Y) > 0)


class AnyClassesDiscriminant(RidgeDiscriminant):
    """The linear discriminant on the checks' labels."""

    def fit(self, X: np.ndarray, Y: np.ndarray | None) -> Self:
        return super().fit(X, None if Y is None else np.asarray(Y) > 0)


# Of the checks for arrays of two dimensions none is meant for the network, whose windows have three.
@parametrize_with_checks(
    [AnyClassesGBM(n_estimators=5), AnyClassesDiscriminant(), GRUClassifier(epochs=1, hidden_size=4)]
)
def test_scikit_learns_checks(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


@pytest.mark.parametrize("model", [OneVsRestGBM(), RidgeDiscriminant(), GRUClassifier()])
@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.full((4, 2), 2.0), "holds 2; a label is 1, 0, or nan"),
        (np.zeros((3, 2)), "X has 4 windows and Y 3"),
        (np.zeros(4), "2D array"),
    ],
)
def test_what_are_no_labels_is_refused(
    model: OneVsRestGBM | RidgeDiscriminant | GRUClassifier, Y: np.ndarray, message: str
) -> None:
    X = np.zeros((4, 5, 3) if isinstance(model, GRUClassifier) else (4, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_labels_may_be_unknown() -> None:
    Y = np.array([[1, 0], [np.nan, 1]], np.float32)
    np.testing.assert_array_equal(check_labels(Y, 2), Y)
