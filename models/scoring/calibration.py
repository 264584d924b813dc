"""Platt calibration: turns scores of recordings into probabilities that are comparable between species."""

from typing import Self

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator

from models.logistic import IDENTITY, fit_logistic, logit


class PlattCalibrator(BaseEstimator):
    """Platt calibration with one logistic curve per species, shrunk towards a common curve.

    Rankings compare the scores of different species in one recording. Without calibration, a species whose
    scores are generally low would be ranked too low. Platt calibration [1]_ fits one logistic regression per
    species, of the labels on the log odds of the scores. Many species have only about twenty positive
    recordings, so a Gaussian prior shrinks each slope and offset towards those of the common curve, which is
    fitted on all species together.

    Parameters
    ----------
    shrinkage : float
        Precision of the prior; its standard deviation is 1 / sqrt(shrinkage). With 5, the standard deviation
        is about 0.4: the slope and offset of a species move further than that from the common ones only if
        many labels support it. If it is infinite, all species share the common curve.

    Attributes
    ----------
    coef_ : (n_species, 2) array
        Slope and offset of each species: calibrated log odds = slope * log odds + offset.

    Notes
    -----
    In the fit, negatives are weighted so that every species has the same prevalence: that of all species
    pooled. The number of annotated positives of a species depends on the choice of the annotators, not on its
    prevalence in the field. Without the weights, a species that happens to have few positives in the folds
    used for fitting would get lower scores in the held-out fold.

    References
    ----------
    .. [1] Platt (1999), "Probabilistic outputs for support vector machines and comparisons to regularized
       likelihood methods".

    Examples
    --------
    >>> import numpy as np
    >>> P = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.1], [0.2, 0.05]])
    >>> Y = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    >>> calibrator = PlattCalibrator().fit(P, Y)
    >>> calibrator.coef_.shape
    (2, 2)
    >>> bool(calibrator.transform(P)[0, 1] > P[0, 1])
    True
    """

    def __init__(self, shrinkage: float = 5.0) -> None:
        self.shrinkage = shrinkage

    def fit(self, P: np.ndarray, Y: np.ndarray) -> Self:
        """Return the calibrator after fitting it on the entries of `Y` that are not nan.

        Parameters
        ----------
        P : (n_recordings, n_species) scores in [0, 1].
        Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
        """
        x, weight = logit(P), _balancing_weights(Y)
        common = fit_logistic(x.ravel(), Y.ravel(), weight.ravel(), prior=IDENTITY, precision=1.0)
        if np.isinf(self.shrinkage):
            self.coef_ = np.tile(common, (P.shape[1], 1))
            return self
        self.coef_ = np.array(
            [
                fit_logistic(x[:, k], Y[:, k], weight[:, k], prior=common, precision=self.shrinkage)
                for k in range(P.shape[1])
            ]
        )
        return self

    @classmethod
    def of(cls, coef: np.ndarray) -> Self:
        """Return a calibrator with the given (n_species, 2) coefficients."""
        calibrator = cls()
        calibrator.coef_ = np.asarray(coef)
        return calibrator

    def transform(self, P: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities of scores P, (n_recordings, n_species)."""
        return scipy.special.expit(self.coef_[:, 0] * logit(P) + self.coef_[:, 1])


def calibrate(
    P: np.ndarray, Y: np.ndarray, fold: np.ndarray, *, shrinkage: float
) -> tuple[np.ndarray, PlattCalibrator]:
    """Return scores that are calibrated out of fold, and the calibrator fitted on all recordings.

    The scores of each fold are calibrated with curves that were fitted on the other folds.

    Parameters
    ----------
    P : (n_recordings, n_species) out-of-fold scores in [0, 1].
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    fold : (n_recordings,) fold of each recording, from 0.
    shrinkage : as in `PlattCalibrator`.
    """
    calibrated = np.empty(P.shape)
    for k in range(fold.max() + 1):
        inside = fold == k
        calibrated[inside] = PlattCalibrator(shrinkage).fit(P[~inside], Y[~inside]).transform(P[inside])
    return calibrated, PlattCalibrator(shrinkage).fit(P, Y)


def _balancing_weights(Y: np.ndarray) -> np.ndarray:
    """Return weights that give each species the same prevalence: that of all species pooled.

    A positive has weight 1. The weight is 0 for unknown entries, and for all cells of a species that lacks
    positives or lacks negatives.
    """
    positives, negatives = (Y == 1).sum(axis=0), (Y == 0).sum(axis=0)
    odds = negatives.sum() / max(positives.sum(), 1)
    negative_weight = np.where(negatives > 0, odds * positives / np.maximum(negatives, 1), 0.0)
    positive_weight = np.where(negatives > 0, 1.0, 0.0)
    return np.where(Y == 1, positive_weight, np.where(Y == 0, negative_weight, 0.0))
