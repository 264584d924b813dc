"""Scores of recordings -> probabilities that mean the same for every species."""

from typing import Self

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator

LOGIT_LIMIT = 1e-6  # probabilities are kept this far from 0 and 1 before the logit
IDENTITY = np.array([1.0, 0.0])
LEAST_SLOPE = 0.1
TOLERANCE = 1e-8
N_STEPS = 50  # of Newton's method, which needs about ten


class PlattCalibrator(BaseEstimator):
    """A logistic curve for each species, drawn to the one that serves them all.

    Ranking compares species with each other, so a species whose scores run low loses wherever it
    sounds. Platt (1999) fits a logistic regression on the score's log odds; with some twenty
    positives a species, each species' slope and offset are drawn to the common ones by a Gaussian
    prior. Every species is fitted as if it were as frequent as all are together: how often a species
    stands in the training set is the annotators' choice, and leaving it in would also punish in each
    fold the species that the other folds lack.

    Parameters
    ----------
    shrinkage : precision of the prior; at 5, curves part from the common one by about 0.4 log odds unless the
        labels say more, at infinity never.

    Attributes
    ----------
    coef_ : (n_species, 2) slope and offset on the log odds.
    """

    def __init__(self, shrinkage: float = 5.0) -> None:
        self.shrinkage = shrinkage

    def fit(self, P: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on (n_recordings, n_species) scores P and truth Y of 1, 0 and nan."""
        x, weight = logit(P), _even_weights(Y)
        common = fit_curve(x.ravel(), Y.ravel(), weight.ravel(), IDENTITY, 1.0)
        if np.isinf(self.shrinkage):
            self.coef_ = np.tile(common, (P.shape[1], 1))
            return self
        self.coef_ = np.array(
            [fit_curve(x[:, k], Y[:, k], weight[:, k], common, self.shrinkage) for k in range(P.shape[1])]
        )
        return self

    @classmethod
    def of(cls, coef: np.ndarray) -> Self:
        """Return the calibrator of curves that were fitted before."""
        calibrator = cls()
        calibrator.coef_ = np.asarray(coef)
        return calibrator

    def transform(self, P: np.ndarray) -> np.ndarray:
        """Return (n_recordings, n_species) calibrated probabilities."""
        return scipy.special.expit(self.coef_[:, 0] * logit(P) + self.coef_[:, 1])


def calibrate(
    P: np.ndarray, Y: np.ndarray, fold: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, PlattCalibrator]:
    """Return out-of-fold calibrated scores, each fold by the others' curves, and the curves of all.

    Parameters
    ----------
    P : (n_recordings, n_species) out-of-fold scores.
    Y : (n_recordings, n_species) truth of 1, 0 and nan.
    fold : (n_recordings,) fold of each recording, from 0.
    shrinkage : as of PlattCalibrator.
    """
    calibrated = np.empty(P.shape)
    for k in range(fold.max() + 1):
        inside = fold == k
        calibrated[inside] = PlattCalibrator(shrinkage).fit(P[~inside], Y[~inside]).transform(P[inside])
    return calibrated, PlattCalibrator(shrinkage).fit(P, Y)


def logit(P: np.ndarray) -> np.ndarray:
    return scipy.special.logit(np.clip(P, LOGIT_LIMIT, 1 - LOGIT_LIMIT))


def fit_curve(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, prior: np.ndarray, precision: float
) -> np.ndarray:
    """Return slope and offset of the weighted logistic regression of y on x with a Gaussian prior."""
    used = weight > 0
    A, y, weight = np.column_stack([x[used], np.ones(used.sum())]), y[used], weight[used]

    def loss(w: np.ndarray) -> float:
        z = A @ w
        return float(weight @ (np.logaddexp(0, z) - y * z) + precision * np.sum((w - prior) ** 2) / 2)

    w = prior.copy()
    for _ in range(N_STEPS):
        p = scipy.special.expit(A @ w)
        gradient = A.T @ (weight * (p - y)) + precision * (w - prior)
        hessian = (A * (weight * p * (1 - p))[:, None]).T @ A + precision * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while (
            loss(w - step) > loss(w) and np.abs(step).max() > TOLERANCE
        ):  # far from the end Newton overshoots
            step /= 2
        w = w - step
        if np.abs(step).max() < TOLERANCE:
            break
    # Where labels run against the scores by chance, the scores keep their order all the same.
    return np.array([max(w[0], LEAST_SLOPE), w[1]])


def _even_weights(Y: np.ndarray) -> np.ndarray:
    """Return weights that give each species the positive share that all have together.

    A positive weighs 1; a species without a positive, or without a negative, and what is unknown weigh 0.
    """
    positives, negatives = (Y == 1).sum(axis=0), (Y == 0).sum(axis=0)
    odds = negatives.sum() / max(positives.sum(), 1)
    of_negatives = np.where(negatives > 0, odds * positives / np.maximum(negatives, 1), 0.0)
    of_positives = np.where(negatives > 0, 1.0, 0.0)
    return np.where(Y == 1, of_positives, np.where(Y == 0, of_negatives, 0.0))
