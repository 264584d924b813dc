"""Scores from which a species counts as found."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Precisions and recalls that can be asked for."""
DEFAULT_PRECISION = 0.7
ABOVE_ALL = 1e-6  # added to the highest score of recordings that lack a species


@dataclass(frozen=True)
class Thresholds:
    """What each species' score must reach.

    precision, recall : level of `LEVELS` -> (n_species,) scores.
    """

    precision: dict[float, np.ndarray]
    recall: dict[float, np.ndarray]

    @classmethod
    def fit(cls, P: np.ndarray, Y: np.ndarray) -> Self:
        """Return the thresholds of out-of-fold scores.

        Parameters
        ----------
        P, Y : (n_recordings, n_species) scores, and truth of 1, 0 and nan.
        """
        curves = [_curve(P[~np.isnan(y), k], y[~np.isnan(y)] == 1) for k, y in enumerate(Y.T)]
        return cls(
            {level: np.array([_for_precision(*curve, level) for curve in curves]) for level in LEVELS},
            {level: np.array([_for_recall(*curve, level) for curve in curves]) for level in LEVELS},
        )

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs, as JSON holds it."""
        return {
            name: {str(level): values.tolist() for level, values in by_level.items()}
            for name, by_level in (("precision", self.precision), ("recall", self.recall))
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], n_species: int) -> Self:
        parts = []
        for name in ("precision", "recall"):
            part = {level: np.array(config[name][str(level)], float) for level in LEVELS}
            if any(values.shape != (n_species,) for values in part.values()):
                raise ValueError("thresholds of other species")
            if not all(np.isfinite(values).all() for values in part.values()):
                raise ValueError("thresholds that are no numbers")
            parts.append(part)
        return cls(*parts)


def _curve(p: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct scores, highest first, and how many present and absent reach each."""
    scores = np.unique(p)[::-1]
    reach = p[:, None] >= scores
    return scores, (reach & present[:, None]).sum(axis=0), (reach & ~present[:, None]).sum(axis=0)


def _for_precision(scores: np.ndarray, present: np.ndarray, absent: np.ndarray, level: float) -> float:
    """Return the lowest score from which on a share of `level` is present.

    Where no score gives it, the species counts as found only above every recording that lacks it.
    """
    good = np.flatnonzero((present > 0) & (present >= level * (present + absent)))
    if len(good):
        return float(scores[good[-1]])
    lacking = np.flatnonzero(np.diff(absent, prepend=0))
    return float(min(scores[lacking[0]] + ABOVE_ALL, 1)) if len(lacking) else 1.0


def _for_recall(scores: np.ndarray, present: np.ndarray, absent: np.ndarray, level: float) -> float:
    """Return the highest score that a share of `level` of the present reach; 1 if none is present."""
    if len(present) == 0 or present[-1] == 0:
        return 1.0
    return float(scores[np.argmax(present >= level * present[-1])])
