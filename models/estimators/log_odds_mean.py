"""The weighted mean of several estimators' log odds."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted, validate_data

from models.estimators.labels import check_labels, multilabel_tags


class LogOddsMean(_BaseComposition):
    """Weighted mean of the log odds of several estimators.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and estimators. Each estimator must have the method `decision_function`. To call `importance`
        or `contributions` of the mean, each estimator must also have the method of this name. As in
        scikit-learn, `set_params(<name>__<parameter>=value)` sets a parameter of one of the estimators.
    weights : sequence of float, optional
        Positive weight of each estimator. Default: equal weights.

    Attributes
    ----------
    estimators_ : list of estimator
        Fitted clones of the estimators, in the same order.
    n_features_in_, n_species_ : int
        Numbers of features and species.

    Examples
    --------
    >>> import numpy as np
    >>> from models.estimators.one_vs_rest_gbm import OneVsRestGBM
    >>> from models.estimators.ridge_discriminant import RidgeDiscriminant
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> Y = (X[:, :2] > 1).astype(float)
    >>> model = LogOddsMean([("trees", OneVsRestGBM()), ("linear", RidgeDiscriminant())])
    >>> model.set_params(trees__n_estimators=20).fit(X, Y).predict_proba(X).shape
    (200, 2)
    """

    def __init__(
        self, estimators: list[tuple[str, BaseEstimator]], weights: Sequence[float] | None = None
    ) -> None:
        self.estimators = estimators
        self.weights = weights

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; if `deep`, also those of each estimator as `<name>__<parameter>`."""
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Return self after setting parameters; those of an estimator are named `<name>__<parameter>`."""
        return self._set_params("estimators", **params)

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Return self after fitting a clone of each estimator.

        Parameters
        ----------
        X : (n_windows, n_features) features.
        Y : (n_windows, n_species) labels from 0 to 1, or nan for unknown.

        Raises
        ------
        ValueError
            The names, weights, X or Y are not valid.
        """
        self._validate_composition()
        X = validate_data(self, X, dtype=np.float32)  # sets n_features_in_
        Y = check_labels(Y, len(X))
        self.n_species_ = Y.shape[1]
        self.estimators_ = [clone(estimator).fit(X, Y) for _, estimator in self.estimators]
        return self

    @classmethod
    def of_fitted(
        cls, estimators: list[tuple[str, BaseEstimator]], weights: Sequence[float] | None = None
    ) -> Self:
        """Return the mean of estimators that are already fitted.

        Raises
        ------
        ValueError
            The names or weights are not valid, or the estimators have different numbers of features or
            species.
        """
        mean = cls(estimators, weights)
        mean._validate_composition()
        mean.estimators_ = [estimator for _, estimator in estimators]
        shapes = {name: (fitted.n_features_in_, fitted.n_species_) for name, fitted in estimators}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"the estimators differ in (n_features, n_species): {shapes}; use estimators of the same run"
            )
        mean.n_features_in_, mean.n_species_ = next(iter(shapes.values()))
        return mean

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the mean log odds of each species in each window, (n_windows, n_species)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self._mean(estimator.decision_function(X) for estimator in self.estimators_)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each species in each window, (n_windows, n_species)."""
        return np.asarray(expit(self.decision_function(X)))

    def importance(self) -> np.ndarray:
        """Return the mean importance of each feature over the estimators, (n_species, n_features)."""
        check_is_fitted(self)
        return self._mean(estimator.importance() for estimator in self.estimators_)

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        """Return the contribution of each feature to the log odds of a species, (n_windows, n_features).

        Parameters
        ----------
        X : (n_windows, n_features) features.
        species : index of the species.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self._mean(estimator.contributions(X, species) for estimator in self.estimators_)

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__())

    def _validate_composition(self) -> None:
        if not self.estimators:
            raise ValueError("estimators is empty; give a list of (name, estimator)")
        self._validate_names([name for name, _ in self.estimators])
        if self.weights is None:
            return
        weights = np.asarray(self.weights, float)
        if weights.shape != (len(self.estimators),) or not np.isfinite(weights).all() or weights.min() <= 0:
            raise ValueError(
                f"weights is {self.weights}; give a positive number for each of the "
                f"{len(self.estimators)} estimators"
            )

    def _mean(self, values: Iterable[np.ndarray]) -> np.ndarray:
        """Return the weighted mean of arrays, one from each estimator."""
        weights = [1.0] * len(self.estimators_) if self.weights is None else list(self.weights)
        first, *others = zip(weights, values, strict=True)
        total, mean = first
        for weight, value in others:
            total += weight
            mean = mean + weight / total * (value - mean)
        return mean
