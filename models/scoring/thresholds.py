"""Thresholds: the lowest score at which each species is reported."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from features.common.errors import UserError

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of precision and recall for which thresholds are computed."""
DEFAULT_PRECISION = 0.7
MARGIN = 1e-6  # a threshold that excludes all absent recordings is this far above their highest score


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of each species for several levels of precision and of recall.

    Attributes
    ----------
    precision : dict from each level in `LEVELS` to (n_species,) thresholds. A threshold is the lowest score
        with at least this precision: the fraction of the reported recordings that contain the species. If no
        score has it, the threshold is just above the scores of all recordings without the species.
    recall : dict from each level in `LEVELS` to (n_species,) thresholds. A threshold is the highest score
        with at least this recall: the fraction of the recordings with the species that are reported. It is 1
        if the species is never present.

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
        """Return the thresholds that are set on out-of-fold scores; unknown cells are ignored.

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

    def at(self, *, precision: float | None = None, recall: float | None = None) -> np.ndarray:
        """Return the thresholds for a target precision or recall, shape (n_species,).

        Parameters
        ----------
        precision : one of `LEVELS`; `DEFAULT_PRECISION` if neither is given.
        recall : one of `LEVELS`, instead of a precision.

        Raises
        ------
        UserError
            Both are given, or the value is not one of `LEVELS`.
        """
        if precision is not None and recall is not None:
            raise UserError(f"precision {precision} and recall {recall} are both given; give one of them")
        by_level, level = (self.precision, precision) if recall is None else (self.recall, recall)
        level = DEFAULT_PRECISION if level is None else level
        if level not in by_level:
            raise UserError(f"level {level} is not one of {', '.join(map(str, LEVELS))}; give one of these")
        return by_level[level]

    def config(self) -> dict[str, Any]:
        """Return the thresholds as JSON values for `from_config`."""
        return {
            name: {str(level): values.tolist() for level, values in by_level.items()}
            for name, by_level in (("precision", self.precision), ("recall", self.recall))
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], n_species: int) -> Self:
        """Return the thresholds from the JSON values that `config` returned.

        Raises
        ------
        ValueError, KeyError, TypeError
            Thresholds are missing or not valid for `n_species` species.
        """
        parts = []
        for name in ("precision", "recall"):
            part = {level: np.array(config[name][str(level)], float) for level in LEVELS}
            if any(values.shape != (n_species,) for values in part.values()):
                raise ValueError(f"{name} thresholds are not for {n_species} species; retrain the model")
            if not all(np.isfinite(values).all() for values in part.values()):
                raise ValueError(f"{name} thresholds are not finite; retrain the model")
            parts.append(part)
        return cls(*parts)


def _curve(p: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct scores, highest first, and how many present and absent recordings reach each."""
    scores = np.unique(p)[::-1]
    reach = p[:, None] >= scores
    return scores, (reach & present[:, None]).sum(axis=0), (reach & ~present[:, None]).sum(axis=0)


def _for_precision(scores: np.ndarray, present: np.ndarray, absent: np.ndarray, *, level: float) -> float:
    """Return the lowest threshold with a precision of at least `level`.

    If there is none, return a threshold just above the scores of all recordings without the species.
    """
    reached = np.flatnonzero((present > 0) & (present >= level * (present + absent)))
    if len(reached):
        return float(scores[reached[-1]])
    with_absent = np.flatnonzero(np.diff(absent, prepend=0))
    return float(min(scores[with_absent[0]] + MARGIN, 1)) if len(with_absent) else 1.0


def _for_recall(scores: np.ndarray, present: np.ndarray, absent: np.ndarray, *, level: float) -> float:
    """Return the highest threshold with a recall of at least `level`; 1 if the species is never present."""
    if len(present) == 0 or present[-1] == 0:
        return 1.0
    return float(scores[np.argmax(present >= level * present[-1])])
