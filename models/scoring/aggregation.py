"""Scores of windows -> comparable scores of recordings: the pooling and the calibration that rank best."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.metrics import difference_error
from models.scoring.calibration import PlattCalibrator, calibrate
from models.scoring.pooling import POOLINGS, pool

Metric = Callable[[np.ndarray, np.ndarray], float]

OWN, COMMON = 5.0, np.inf
"""Shrinkage of curves that each species' positives move, and of one that leaves rankings as they are."""


@dataclass(frozen=True)
class Readout:
    pooling: str
    calibrator: PlattCalibrator

    def __call__(self, P: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return (n_recordings, n_species) probabilities of (n_windows, n_species) scores.

        Parameters
        ----------
        first : (n_recordings,) first window of each recording.
        """
        return self.calibrator.transform(pool(P, first, self.pooling))

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs, as JSON holds it."""
        return {"pooling": self.pooling, "calibration": self.calibrator.coef_.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Readout":
        return cls(config["pooling"], PlattCalibrator.of(config["calibration"]))


def best_readout(
    P: np.ndarray,
    first: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    metric: Metric,
) -> tuple[Readout, np.ndarray, float]:
    """Return the simplest readout that is as good as the best, its out-of-fold scores, and their metric.

    As good is within one standard error of the paired difference, as in `blending.fit_blend`. Simplest
    is nearest to the loudest window, with a curve for each species. One for all earns its place where
    folds keep sites whole: there a fold's species can be strangers to the others, and what those say
    of them misleads.

    Parameters
    ----------
    P : (n_windows, n_species) out-of-fold scores.
    first : (n_recordings,) first window of each recording.
    Y : (n_recordings, n_species) truth of 1, 0 and nan.
    fold : (n_recordings,) fold of each recording.
    """
    candidates = []
    for shrinkage in (OWN, COMMON):
        for how in POOLINGS:
            oof, calibrator = calibrate(pool(P, first, how), Y, fold, shrinkage)
            candidates.append((Readout(how, calibrator), oof, metric(Y, oof)))
    best = max(candidates, key=lambda candidate: candidate[2])
    return next(
        candidate
        for candidate in candidates
        if candidate is best or best[2] - candidate[2] <= difference_error(metric, Y, best[1], candidate[1])
    )
