"""Thresholds: the lowest score at which each species is reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from features.common.errors import UserError
from models.metrics import MIN_POSITIVES

MIN_LEVEL, MAX_LEVEL = 0.5, 0.99
"""Lowest and highest level of precision and recall for which thresholds can be requested."""
DEFAULT_PRECISION = 0.7
MARGIN = 1e-6  # a threshold that excludes all absent recordings is this far above their highest score


class ThresholdSteps(NamedTuple):
    """A threshold as a step function of the level of precision or recall.

    Attributes
    ----------
    level : (n_steps,) increasing; the last one is 1.
    threshold : (n_steps,). `threshold[k]` applies above `level[k - 1]` up to and including `level[k]`.
    """

    level: np.ndarray
    threshold: np.ndarray

    def at(self, level: float) -> float:
        """Return the threshold at a level in (0, 1]."""
        return float(self.threshold[np.searchsorted(self.level, level)])


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of each species for any level of precision or of recall from 0.5 to 0.99.

    Attributes
    ----------
    precision : steps of each species. A threshold is the lowest score with at least this precision: the
        fraction of the reported recordings that contain the species. If no score has it, the threshold is
        just above the scores of all recordings without the species.
    recall : steps of each species. A threshold is the highest score with at least this recall: the fraction
        of the recordings with the species that are reported.
    n_positive : (n_species,) number of recordings with the species.

    Notes
    -----
    A precision or recall that is measured on one or two recordings is arbitrary. A species with fewer than
    `MIN_POSITIVES` (five) recordings therefore has the threshold of all species together. It is set on their
    pooled scores, which can be compared because they are calibrated. If all species together have fewer than
    five recordings, all levels have the same threshold: just above the pooled scores of the absent species.
    A species without any recording has the threshold 1, so it is never reported.

    Examples
    --------
    >>> import numpy as np
    >>> P = np.linspace(0.95, 0.5, 10)[:, None]
    >>> Y = np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 0.0])[:, None]
    >>> thresholds = Thresholds.fit(P, Y)
    >>> thresholds.at(precision=0.75).round(2).tolist(), thresholds.at(precision=0.85).round(2).tolist()
    ([0.75], [0.9])
    >>> thresholds.at(recall=0.5).round(2).tolist(), thresholds.at(recall=0.85).round(2).tolist()
    ([0.8], [0.65])
    >>> thresholds.verifiable.tolist()
    [True]
    """

    precision: tuple[ThresholdSteps, ...]
    recall: tuple[ThresholdSteps, ...]
    n_positive: np.ndarray

    @classmethod
    def fit(cls, P: np.ndarray, Y: np.ndarray) -> Self:
        """Return the thresholds that are set on out-of-fold scores; unknown cells are ignored.

        Parameters
        ----------
        P : (n_recordings, n_species) out-of-fold scores in [0, 1].
        Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
        """
        n_positive = (Y == 1).sum(axis=0)
        pooled = _steps(P.ravel(), Y.ravel())
        never = _same_for_all_levels(1.0)
        steps = [
            _steps(p, y) if n >= MIN_POSITIVES else pooled if n else (never, never)
            for p, y, n in zip(P.T, Y.T, n_positive, strict=True)
        ]
        precision, recall = zip(*steps, strict=True)
        return cls(precision, recall, n_positive)

    @property
    def verifiable(self) -> np.ndarray:
        """Whether each species has enough recordings for a threshold of its own, (n_species,) bool."""
        return self.n_positive >= MIN_POSITIVES

    def at(self, *, precision: float | None = None, recall: float | None = None) -> np.ndarray:
        """Return the thresholds for a target precision or recall, shape (n_species,).

        Parameters
        ----------
        precision : level from 0.5 to 0.99; `DEFAULT_PRECISION` if neither is given.
        recall : level from 0.5 to 0.99, instead of a precision.

        Raises
        ------
        UserError
            Both are given, or the level is outside this range.
        """
        if precision is not None and recall is not None:
            raise UserError(f"precision {precision} and recall {recall} are both given; give one of them")
        steps, level = (self.precision, precision) if recall is None else (self.recall, recall)
        level = DEFAULT_PRECISION if level is None else level
        if not MIN_LEVEL <= level <= MAX_LEVEL:  # also true for nan
            raise UserError(
                f"level {level} is outside {MIN_LEVEL} to {MAX_LEVEL}; give a level in this range"
            )
        return np.array([of_species.at(level) for of_species in steps])

    def config(self) -> dict[str, Any]:
        """Return the thresholds as JSON values for `from_config`."""
        steps = {
            name: [{"level": one.level.tolist(), "threshold": one.threshold.tolist()} for one in of_species]
            for name, of_species in (("precision", self.precision), ("recall", self.recall))
        }
        return {"n_positive": self.n_positive.tolist(), **steps}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], n_species: int) -> Self:
        """Return the thresholds from the JSON values that `config` returned.

        Raises
        ------
        ValueError, KeyError, TypeError
            Thresholds are missing or not valid for `n_species` species.
        """
        n_positive = np.array(config["n_positive"])
        if n_positive.shape != (n_species,) or n_positive.dtype.kind != "i" or (n_positive < 0).any():
            raise ValueError(
                f"n_positive is not one count for each of {n_species} species; retrain the model"
            )
        parts = []
        for name, direction in (("precision", 1), ("recall", -1)):
            if len(config[name]) != n_species:
                raise ValueError(f"{name} thresholds are not for {n_species} species; retrain the model")
            part = []
            for one in config[name]:
                steps = ThresholdSteps(np.array(one["level"], float), np.array(one["threshold"], float))
                if not _are_valid(steps, direction):
                    raise ValueError(
                        f"{name} thresholds are not increasing levels up to 1 with scores from 0 to 1 in "
                        f"order; retrain the model"
                    )
                part.append(steps)
            parts.append(tuple(part))
        return cls(parts[0], parts[1], n_positive)


def _are_valid(steps: ThresholdSteps, direction: int) -> bool:
    """Return whether steps are well formed; `direction` is 1 if thresholds rise with the level, -1 if not."""
    level, threshold = steps
    return (
        level.ndim == 1
        and level.shape == threshold.shape
        and level.size > 0
        and bool((np.diff(level, prepend=0) > 0).all() and level[-1] == 1)  # false for nan
        and bool(((threshold >= 0) & (threshold <= 1)).all() and (direction * np.diff(threshold) >= 0).all())
    )


def _steps(p: np.ndarray, y: np.ndarray) -> tuple[ThresholdSteps, ThresholdSteps]:
    """Return the steps for precision and for recall, set on scores p and truth y of shape (n,)."""
    p, is_present = p[~np.isnan(y)], y[~np.isnan(y)] == 1
    if is_present.sum() < MIN_POSITIVES:
        steps = _same_for_all_levels(_above_all(p[~is_present]))
        return steps, steps
    # The distinct scores, highest first, and how many present and absent recordings reach each.
    order = np.argsort(-p)
    last = np.flatnonzero(np.diff(p[order], append=-1))
    score, present = p[order][last], np.cumsum(is_present[order])[last]
    precision, recall = present / (last + 1), present / present[-1]

    # A score is of use only if every lower score has a lower precision.
    useful = precision > np.maximum.accumulate(np.append(precision[1:], 0)[::-1])[::-1]
    level, threshold = precision[useful][::-1], score[useful][::-1]
    if level[-1] < 1:
        level, threshold = np.append(level, 1), np.append(threshold, _above_all(p[~is_present]))
    reached = np.diff(recall, prepend=0) > 0
    return ThresholdSteps(level, threshold), ThresholdSteps(recall[reached], score[reached])


def _same_for_all_levels(threshold: float) -> ThresholdSteps:
    return ThresholdSteps(np.ones(1), np.array([threshold]))


def _above_all(p: np.ndarray) -> float:
    """Return a threshold just above scores p, but not above 1; 1 if there are no scores."""
    return float(min(p.max() + MARGIN, 1)) if len(p) else 1.0
