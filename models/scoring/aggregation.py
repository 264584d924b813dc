"""Aggregation of window scores to recording scores, with the pooling and calibration that rank best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from models.metrics import difference_error
from models.scoring.calibration import PlattCalibrator, calibrate
from models.scoring.pooling import POOLINGS, pool

Metric = Callable[[np.ndarray, np.ndarray], float]

PER_SPECIES_SHRINKAGE = 5.0
"""Shrinkage that gives each species its own calibration curve."""
COMMON_SHRINKAGE = np.inf
"""Shrinkage that gives all species the same curve; calibration then does not change the order of species."""


@dataclass(frozen=True)
class Aggregation:
    """Pooling of a recording's window scores, followed by calibration.

    Attributes
    ----------
    pooling : one of `pooling.POOLINGS`.
    calibrator : calibrator of the pooled scores.
    """

    pooling: str
    calibrator: PlattCalibrator

    def __call__(self, P: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the probability of each species in each recording, (n_recordings, n_species).

        Parameters
        ----------
        P : (n_windows, n_species) window scores, grouped by recording.
        first : (n_recordings,) index of the first window of each recording.
        """
        return self.calibrator.transform(pool(P, first, self.pooling))

    def config(self) -> dict[str, Any]:
        """Return the settings as JSON values for `from_config`."""
        return {"pooling": self.pooling, "calibration": self.calibrator.coef_.tolist()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], n_species: int) -> Self:
        """Return the aggregation with the settings that `config` returned.

        Raises
        ------
        ValueError, KeyError, TypeError
            The settings are missing or not valid for `n_species` species.
        """
        pooling, coef = config["pooling"], np.array(config["calibration"], float)
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}; use one of {', '.join(POOLINGS)}")
        if coef.shape != (n_species, 2):
            raise ValueError(f"calibration has shape {coef.shape} instead of ({n_species}, 2)")
        if not np.isfinite(coef).all():
            raise ValueError("calibration has coefficients that are not finite")
        return cls(pooling, PlattCalibrator.of(coef))


def best_aggregation(
    P: np.ndarray, first: np.ndarray, Y: np.ndarray, *, fold: np.ndarray, metric: Metric
) -> tuple[Aggregation, np.ndarray, float]:
    """Return the first aggregation that is as good as the best, its out-of-fold scores and their metric.

    An aggregation is as good as the best unless their metrics differ by more than one standard error of the
    paired difference, as in `blending.fit_blend`. If the metric is undefined, the first aggregation is
    returned. Aggregations with one calibration curve for all species come first, then those with a curve for
    each species; both are in the order of `pooling.POOLINGS`. A separate curve for each species is fitted on
    few positives of the other folds. If the folds share neither place nor call, it is often worse than the
    common one.

    Parameters
    ----------
    P : (n_windows, n_species) out-of-fold scores.
    first : (n_recordings,) index of the first window of each recording.
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    fold : (n_recordings,) fold of each recording, from 0.
    metric : function `metric(Y, P)` of truth and scores; higher is better.

    Returns
    -------
    aggregation : Aggregation
        Aggregation fitted on all recordings.
    oof : (n_recordings, n_species) array
        Scores of each fold, calibrated with curves that were fitted on the other folds.
    score : float
        Metric of `oof`.
    """
    candidates = []
    for shrinkage in (COMMON_SHRINKAGE, PER_SPECIES_SHRINKAGE):
        for how in POOLINGS:
            oof, calibrator = calibrate(pool(P, first, how), Y, fold, shrinkage=shrinkage)
            candidates.append((Aggregation(how, calibrator), oof, metric(Y, oof)))
    best = max(candidates, key=lambda candidate: candidate[2])
    return next(
        candidate
        for candidate in candidates
        if not best[2] - candidate[2] > difference_error(metric, Y, best[1], other=candidate[1])  # nan: equal
    )
