"""A linear discriminant of all species at once: what a table's columns say in sum."""

from pathlib import Path
from typing import Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from features.common.files import read_arrays, replacing
from models.estimators.labels import check_labels, constant_log_odds, multilabel_tags
from models.scoring.calibration import IDENTITY, fit_curve

FILE = "linear.npz"
ARRAYS = ("coef", "intercept", "mean", "scale")
BATCH = 8192  # windows at a time in float64
MOST_DEVIATIONS = 4.0  # of a column from its mean; a straight line knows no end of its own


class RidgeDiscriminant(BaseEstimator):
    """Log odds of each species, linear in the columns.

    A ridge regression of the labels on standardised columns points where Fisher's discriminant does
    (Hastie, Tibshirani & Friedman 2009, exercise 4.2): away from what varies among all windows. A logistic
    curve on each species' regression makes log odds of it. Columns count up to four standard deviations from
    their mean, so that a window unlike all of training is no surer than those.

    Parameters
    ----------
    alpha : penalty on squared coefficients of standardised columns.
    weak_negative_weight : weight of a window of which no label is known. One that shows another species is a
        full negative of those that it is not known for, so that species are told from each other.

    Attributes
    ----------
    coef_ : (n_species, n_features) log odds by column.
    intercept_ : (n_species,).
    mean_, scale_ : (n_features,) of the training windows' columns.
    n_features_in_ : int.
    """

    def __init__(self, alpha: float = 300.0, weak_negative_weight: float = 0.1) -> None:
        self.alpha = alpha
        self.weak_negative_weight = weak_negative_weight

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on (n_windows, n_features) X and (n_windows, n_species) Y of 1, 0 and nan."""
        X = validate_data(self, X, dtype=np.float32)
        Y = check_labels(Y, len(X))
        constants = [constant_log_odds(y, self.weak_negative_weight) for y in Y.T]
        varied = [k for k, constant in enumerate(constants) if constant is None]
        self.mean_, self.scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        self.coef_ = np.zeros((len(constants), X.shape[1]))
        self.intercept_ = np.array([constant or 0.0 for constant in constants])
        if not varied:
            return self
        weights = np.where(np.isnan(Y), self.weak_negative_weight, 1.0)
        of_window, shows = weights.max(axis=1), Y[:, varied] == 1
        scaler = StandardScaler().fit(X, sample_weight=of_window)
        Z = np.clip(scaler.transform(X), -MOST_DEVIATIONS, MOST_DEVIATIONS)
        ridge = Ridge(self.alpha).fit(Z, shows.astype(np.float32), sample_weight=of_window)
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        self.coef_[varied] = ridge.coef_ / scaler.scale_
        score = self.decision_function(X)
        for k, is_shown in zip(varied, shows.T, strict=True):
            spread = score[:, k].std() or 1.0  # 0 of columns that never vary
            slope, offset = fit_curve(score[:, k] / spread, is_shown, weights[:, k], IDENTITY, 1.0)
            self.coef_[k] *= slope / spread
            self.intercept_[k] = offset
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_species) log odds of each species in each window."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        parts = [self._deviations(X[batch]) @ self.coef_.T for batch in gen_batches(len(X), BATCH)]
        return np.concatenate(parts) + self.intercept_

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_species) probability of each species in each window."""
        return np.asarray(expit(self.decision_function(X)))

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        """Return (n_windows, n_features) what each column adds to a species' log odds, from its mean on."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self._deviations(X) * self.coef_[species]

    def importance(self) -> np.ndarray:
        """Return (n_species, n_features) the share of each column in squared standardised coefficients."""
        check_is_fitted(self)
        squares = (self.coef_ * self.scale_) ** 2
        return squares / np.maximum(squares.sum(axis=1, keepdims=True), np.finfo(float).tiny)

    def _deviations(self, X: np.ndarray) -> np.ndarray:
        """Return (n_windows, n_features) how far the columns are from their means, within bounds."""
        most = MOST_DEVIATIONS * self.scale_
        return np.clip(X - self.mean_, -most, most)

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__())

    def save(self, folder: Path) -> None:
        """Write the coefficients to `folder`, as arrays."""
        check_is_fitted(self)
        with replacing(folder / FILE) as temporary:
            np.savez(temporary, **{name: getattr(self, f"{name}_") for name in ARRAYS})

    @classmethod
    def load(cls, folder: Path, n_features: int, n_species: int) -> Self:
        """Return the discriminant that `save` wrote, which predicts and is not fitted on.

        Raises
        ------
        ValueError
            The file is another's.
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
                    f"{FILE} is no discriminant of {n_features} features and {n_species} species"
                )
        model = cls()
        model.n_features_in_ = n_features
        model.coef_, model.intercept_, model.mean_, model.scale_ = (arrays[name] for name in ARRAYS)
        return model
