"""Self-training: high scores of windows with unknown labels become soft labels for the next fit.

The labels that a fold's model is fitted with are scores of a model that was fitted without that fold. If they
were out-of-fold scores, they would come from models that were fitted on the labels of the fold, and the next
out-of-fold scores would be too high.

References
----------
.. [1] Lee (2013), "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural
   networks".
.. [2] Xie et al. (2020), "Self-training with noisy student improves ImageNet classification".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

QUOTA = 2.0  # soft labels of a species, as a multiple of its windows with a call
MIN_SCORE = 0.3  # lowest score that becomes a soft label


@dataclass(frozen=True)
class TrainingLabels:
    """The labels that models are fitted with.

    Attributes
    ----------
    outside : the labels for the model of each fold, (n_windows, n_species) numbers from 0 to 1 or nan for
        unknown. The model is not fitted on the windows of its fold.
    whole : (n_windows, n_species) labels for the model of all folds.
    """

    outside: Sequence[np.ndarray]
    whole: np.ndarray

    @classmethod
    def of(cls, Y: np.ndarray, n_folds: int) -> Self:
        """Return labels that are the same for all models."""
        return cls([Y] * n_folds, Y)


def with_soft_labels(
    Y: np.ndarray, P: np.ndarray, eligible: np.ndarray, *, quota: float = QUOTA, min_score: float = MIN_SCORE
) -> np.ndarray:
    """Return labels in which the highest scores of unknown labels have become soft labels.

    Known labels do not change, and no label becomes negative. A species without a call gets no soft labels.

    Parameters
    ----------
    Y : (n_windows, n_species) labels, 1, 0 or nan for unknown.
    P : (n_windows, n_species) scores in [0, 1].
    eligible : (n_windows,) bool, windows whose labels may be replaced and whose calls count for the quota.
    quota : number of soft labels of a species, as a multiple of its eligible windows with a call.
    min_score : lowest score that becomes a soft label.

    Examples
    --------
    >>> Y = np.array([[1.0], [np.nan], [np.nan], [np.nan], [0.0]])
    >>> P = np.array([[0.9], [0.7], [0.8], [0.1], [0.9]])
    >>> with_soft_labels(Y, P, np.ones(5, bool), quota=1.0).ravel().tolist()
    [1.0, nan, 0.8, nan, 0.0]
    """
    soft, below_one = Y.copy(), np.nextafter(Y.dtype.type(1), Y.dtype.type(0))  # 1 would be a known call
    for k, (y, p) in enumerate(zip(Y.T, P.T, strict=True)):
        n = round(quota * int((eligible & (y == 1)).sum()))
        candidates = np.flatnonzero(eligible & np.isnan(y) & (p >= min_score))
        chosen = candidates[np.argsort(-p[candidates], kind="stable")[:n]]
        soft[chosen, k] = np.minimum(p[chosen], below_one)
    return soft
