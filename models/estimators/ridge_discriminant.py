"""A linear discriminant for all species, fitted as a ridge regression."""

from pathlib import Path
from typing import Self

import numpy as np
import scipy.linalg
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from features.common.files import read_arrays, replacing
from models.estimators.column_moments import moments
from models.estimators.labels import check_labels, constant_log_odds, multilabel_tags
from models.logistic import IDENTITY, fit_logistic

VERSION = 2  # increase it when the same parameters and data give different scores

FILE = "linear.npz"
ARRAYS = ("coef", "intercept", "mean", "scale")
BATCH = 8192  # number of windows converted to float64 together
MAX_DEVIATIONS = 4.0  # limit of standardised features, because a linear function is unbounded


def _ridge(Z: np.ndarray, y: np.ndarray, weight: np.ndarray, alpha: float) -> np.ndarray:
    """Return the coefficients of weighted ridge regressions with intercepts, (n_targets, n_features).

    They equal those of `sklearn.linear_model.Ridge(alpha)`, which takes twice as long.

    Parameters
    ----------
    Z : (n_windows, n_features) float32.
    y : (n_windows, n_targets) float32.
    weight : (n_windows,).
    alpha : penalty on the squared coefficients.
    """
    root = np.sqrt(weight).astype(np.float32)[:, None]
    share = (weight / weight.sum()).astype(np.float32)
    A = (Z - share @ Z) * root
    gram = (A.T @ A).astype(float)
    gram.flat[:: len(gram) + 1] += alpha
    right = A.T @ ((y - share @ y) * root)
    # `scipy.linalg.solve` takes several times as long.
    return np.asarray(scipy.linalg.cho_solve(scipy.linalg.cho_factor(gram, overwrite_a=True), right)).T


class RidgeDiscriminant(BaseEstimator):
    """A linear classifier: the log odds of each species are a linear function of the features.

    The labels are regressed on the standardised features by ridge regression, whose coefficients have the
    direction of Fisher's linear discriminant ([1]_, exercise 4.2). For each species, a logistic regression
    then converts the output of the ridge regression to log odds. Standardised features are clipped to four
    standard deviations, so that windows that differ from all training windows do not get extreme scores.

    Parameters
    ----------
    alpha : float
        Penalty on the squared coefficients of the standardised features.
    weak_negative_weight : float
        Weight of an unknown label, which counts as a negative. The ridge regression needs one weight per
        window: it is 1 if any label of the window is known or soft. A window with one species is therefore a
        full negative for the other species, even if their labels are unknown. This separates species from
        each other.

    Attributes
    ----------
    coef_ : (n_species, n_features) array
        Coefficients of the features in the log odds.
    intercept_ : (n_species,) array
        Log odds of a window whose features are all at their mean.
    mean_, scale_ : (n_features,) array
        Weighted mean and standard deviation of the features.
    n_features_in_, n_species_ : int
        Numbers of features and species.

    References
    ----------
    .. [1] Hastie, Tibshirani and Friedman (2009), "The elements of statistical learning", 2nd edition.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> Y = (X[:, :2] > 1).astype(float)  # species k is present if feature k is high
    >>> Y[:50, 1] = np.nan  # unknown
    >>> model = RidgeDiscriminant(alpha=1.0).fit(X, Y)
    >>> model.coef_.argmax(axis=1).tolist()
    [0, 1]
    >>> model.predict_proba(X).shape
    (200, 2)
    """

    def __init__(self, alpha: float = 300.0, weak_negative_weight: float = 0.1) -> None:
        self.alpha = alpha
        self.weak_negative_weight = weak_negative_weight

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Return the fitted estimator.

        Parameters
        ----------
        X : (n_windows, n_features) features.
        Y : (n_windows, n_species) labels from 0 to 1, or nan for unknown.
        """
        X = validate_data(self, X, dtype=np.float32)
        Y = check_labels(Y, len(X))
        constants = [constant_log_odds(y, self.weak_negative_weight) for y in Y.T]
        varied = [k for k, constant in enumerate(constants) if constant is None]
        self.n_species_ = Y.shape[1]
        self.mean_, self.scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self.coef_ = np.zeros((len(constants), X.shape[1]))
        self.intercept_ = np.array([constant or 0.0 for constant in constants])
        if not varied:
            return self
        weights = np.where(np.isnan(Y), self.weak_negative_weight, 1.0)
        window_weight, target = weights.max(axis=1), np.nan_to_num(Y[:, varied]).astype(np.float32)
        self.mean_, variance = moments(X, window_weight)
        self.scale_ = np.where(variance > 0, np.sqrt(variance), 1.0)
        Z = self._standardised(X)
        coef = _ridge(Z, target, window_weight, self.alpha)
        self.coef_[varied] = coef / self.scale_
        score = np.zeros((len(X), len(constants)))
        score[:, varied] = Z @ coef.T
        for k, y in zip(varied, target.T, strict=True):
            spread = score[:, k].std() or 1.0  # the standard deviation is 0 if all features are constant
            slope, offset = fit_logistic(
                score[:, k] / spread, y, weights[:, k], prior=IDENTITY, precision=1.0
            )
            self.coef_[k] *= slope / spread
            self.intercept_[k] = offset
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the log odds of each species in each window, (n_windows, n_species)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        parts = [self._deviations(X[batch]) @ self.coef_.T for batch in gen_batches(len(X), BATCH)]
        return np.concatenate(parts) + self.intercept_

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each species in each window, (n_windows, n_species)."""
        return np.asarray(expit(self.decision_function(X)))

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        """Return the contribution of each feature to the log odds of a species, (n_windows, n_features).

        Contributions are relative to a window whose features are all at their mean.

        Parameters
        ----------
        X : (n_windows, n_features) features.
        species : index of the species.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self._deviations(X) * self.coef_[species]

    def importance(self) -> np.ndarray:
        """Return the share of each feature in the sum of squared coefficients, (n_species, n_features).

        The coefficients are those of the standardised features.
        """
        check_is_fitted(self)
        squares = (self.coef_ * self.scale_) ** 2
        return squares / np.maximum(squares.sum(axis=1, keepdims=True), np.finfo(float).tiny)

    def _deviations(self, X: np.ndarray) -> np.ndarray:
        """Return the clipped deviations of the features from their means, (n_windows, n_features)."""
        limit = MAX_DEVIATIONS * self.scale_
        return np.clip(X - self.mean_, -limit, limit)

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        """Return the clipped deviations in standard deviations, as float32."""
        Z = X - self.mean_.astype(np.float32)
        Z /= self.scale_.astype(np.float32)
        return np.clip(Z, -MAX_DEVIATIONS, MAX_DEVIATIONS, out=Z)

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__())

    def save(self, folder: Path) -> None:
        """Write the coefficients as arrays to `linear.npz` in a folder."""
        check_is_fitted(self)
        with replacing(folder / FILE) as temporary:
            np.savez(temporary, **{name: getattr(self, f"{name}_") for name in ARRAYS})

    @classmethod
    def load(cls, folder: Path, n_features: int, n_species: int) -> Self:
        """Return the discriminant that `save` wrote to `folder`.

        The parameters of the constructor are not stored, so refitting the loaded model would use
        their defaults.

        Parameters
        ----------
        folder : folder of the model.
        n_features, n_species : numbers of features and species that the model must have.

        Raises
        ------
        ValueError
            The file is missing, not valid, or has different numbers of features or species.
        """
        arrays = read_arrays(folder / FILE, *ARRAYS)
        shapes = dict(
            coef=(n_species, n_features), intercept=(n_species,), mean=(n_features,), scale=(n_features,)
        )
        for name, values in arrays.items():
            if (
                values.shape != shapes[name]
                or not np.issubdtype(values.dtype, np.floating)
                or not np.isfinite(values).all()
            ):
                raise ValueError(
                    f"{FILE}: '{name}' is not a finite array for {n_features} features and {n_species} "
                    f"species; retrain the model"
                )
        model = cls()
        model.n_features_in_, model.n_species_ = n_features, n_species
        model.coef_, model.intercept_, model.mean_, model.scale_ = (arrays[name] for name in ARRAYS)
        return model
