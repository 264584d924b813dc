"""Scores of recordings -> probabilities that mean the same for every species."""

from typing import Self

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator

LOGIT_LIMIT = 1e-6  # probabilities are kept this far from 0 and 1 before the logit
LEAST_SLOPE = 0.1
N_STEPS = 50  # of Newton's method, which needs about ten


class PlattCalibrator(BaseEstimator):
    """A logistic curve for each species, drawn to the one that serves them all.

    Ranking compares species with each other, so a species whose scores run low loses wherever it
    sounds. Platt (1999) fits a logistic regression on the score's log odds; with some twenty
    positives a species, each species' slope and offset are drawn to the common ones by a Gaussian
    prior.

    Parameters
    ----------
    shrinkage : precision of the prior; at 5, curves part from the common one by about 0.4 log odds unless the
        labels say more.

    Attributes
    ----------
    coef_ : (n_species, 2) slope and offset on the log odds.
    """

    def __init__(self, shrinkage: float = 5.0) -> None:
        self.shrinkage = shrinkage

    def fit(self, P: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on (n_recordings, n_species) scores P and truth Y of 1, 0 and nan."""
        x = logit(P)
        common = _fit_curve(x.ravel(), Y.ravel(), np.array([1.0, 0.0]), 1e-3)
        curves = [_fit_curve(x[:, k], Y[:, k], common, self.shrinkage) for k in range(P.shape[1])]
        self.coef_ = np.array(curves)
        return self

    def transform(self, P: np.ndarray) -> np.ndarray:
        """Return (n_recordings, n_species) calibrated probabilities."""
        return scipy.special.expit(self.coef_[:, 0] * logit(P) + self.coef_[:, 1])


def calibrate(P: np.ndarray, Y: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, PlattCalibrator]:
    """Return out-of-fold calibrated scores, each fold by the others' curves, and the curves of all.

    Parameters
    ----------
    P : (n_recordings, n_species) out-of-fold scores.
    Y : (n_recordings, n_species) truth of 1, 0 and nan.
    fold : (n_recordings,) fold of each recording, from 0.
    """
    calibrated = np.empty(P.shape)
    for k in range(fold.max() + 1):
        inside = fold == k
        calibrated[inside] = PlattCalibrator().fit(P[~inside], Y[~inside]).transform(P[inside])
    return calibrated, PlattCalibrator().fit(P, Y)


def logit(P: np.ndarray) -> np.ndarray:
    return scipy.special.logit(np.clip(P, LOGIT_LIMIT, 1 - LOGIT_LIMIT))


def _fit_curve(x: np.ndarray, y: np.ndarray, prior: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return slope and offset of the logistic regression of y on x with a Gaussian prior."""
    known = ~np.isnan(y)
    A, y = np.column_stack([x[known], np.ones(known.sum())]), y[known]
    w = prior.copy()
    for _ in range(N_STEPS):
        p = scipy.special.expit(A @ w)
        gradient = A.T @ (p - y) + shrinkage * (w - prior)
        hessian = (A * (p * (1 - p))[:, None]).T @ A + shrinkage * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    # Where labels run against the scores by chance, the scores keep their order all the same.
    return np.array([max(w[0], LEAST_SLOPE), w[1]])
