"""Thresholds: scores from which a species is reported."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of precision and recall for which thresholds exist."""
DEFAULT_PRECISION = 0.7
MARGIN = 1e-6  # distance of a threshold above the highest score of the absent recordings


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of each species for given precision or recall.

    Attributes
    ----------
    precision : level of `LEVELS` -> (n_species,) lowest scores from which at least this fraction of the
        reported recordings is correct. If no score reaches this precision, the threshold is just above the
        scores of all recordings without the species.
    recall : level of `LEVELS` -> (n_species,) highest scores from which at least this fraction of the
        recordings with the species is reported; 1 if the species is never present.

    Examples
    --------
    >>> import numpy as np
    >>> P = np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> Y = np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> thresholds = Thresholds.fit(P, Y)
    >>> thresholds.precision[0.6].tolist(), thresholds.precision[0.9].tolist()
    ([0.7], [0.9])
    >>> thresholds.recall[0.5].tolist(), thresholds.recall[0.9].tolist()
    ([0.9], [0.7])
    """

    precision: dict[float, np.ndarray]
    recall: dict[float, np.ndarray]

    @classmethod
    def fit(cls, P: np.ndarray, Y: np.ndarray) -> Self:
        """Return the thresholds for out-of-fold scores; unknown cells are ignored.

        Parameters
        ----------
        P : (n_recordings, n_species) out-of-fold scores in [0, 1].
        Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
        """
        curves = [_curve(P[~np.isnan(y), k], y[~np.isnan(y)] == 1) for k, y in enumerate(Y.T)]
        return cls(
            {level: np.array([_for_precision(*curve, level=level) for curve in curves]) for level in LEVELS},
            {level: np.array([_for_recall(*curve, level=level) for curve in curves]) for level in LEVELS},
        )

    def config(self) -> dict[str, Any]:
        """Return the thresholds as JSON values for `from_config`."""
        return {
            name: {str(level): values.tolist() for level, values in by_level.items()}
            for name, by_level in (("precision", self.precision), ("recall", self.recall))
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], n_species: int) -> Self:
        """Return the thresholds that `config` returned.

        Raises
        ------
        ValueError, KeyError, TypeError
            Thresholds are missing or not valid for `n_species` species.
        """
        parts = []
        for name in ("precision", "recall"):
            part = {level: np.array(config[name][str(level)], float) for level in LEVELS}
            if any(values.shape != (n_species,) for values in part.values()):
                raise ValueError(
                    f"thresholds of {name} are not those of {n_species} species; retrain the model"
                )
            if not all(np.isfinite(values).all() for values in part.values()):
                raise ValueError(f"thresholds of {name} are not finite; retrain the model")
            parts.append(part)
        return cls(*parts)


def _curve(p: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct scores, highest first, and the cumulative numbers of present and absent."""
    scores = np.unique(p)[::-1]
    reach = p[:, None] >= scores
    return scores, (reach & present[:, None]).sum(axis=0), (reach & ~present[:, None]).sum(axis=0)


def _for_precision(scores: np.ndarray, present: np.ndarray, absent: np.ndarray, *, level: float) -> float:
    """Return the lowest score from which the precision is at least `level`.

    If there is none, return a score just above those of all recordings without the species.
    """
    reached = np.flatnonzero((present > 0) & (present >= level * (present + absent)))
    if len(reached):
        return float(scores[reached[-1]])
    with_absent = np.flatnonzero(np.diff(absent, prepend=0))
    return float(min(scores[with_absent[0]] + MARGIN, 1)) if len(with_absent) else 1.0


def _for_recall(scores: np.ndarray, present: np.ndarray, absent: np.ndarray, *, level: float) -> float:
    """Return the highest score from which the recall is at least `level`, or 1 without any present."""
    if len(present) == 0 or present[-1] == 0:
        return 1.0
    return float(scores[np.argmax(present >= level * present[-1])])
