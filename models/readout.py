"""Scores of windows -> comparable scores of recordings: the pooling and the calibration that rank best."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.calibration import PlattCalibrator, calibrate
from models.metrics import difference_error
from models.pooling import POOLINGS, pool

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
    """Return the readout whose out-of-fold scores are best, those scores, and their metric.

    Each species has a curve of its own, unless one for all is better by more than a standard error: where
    folds keep sites whole, a fold's species can be strangers to the others, and what those say of
    them misleads.

    Parameters
    ----------
    P : (n_windows, n_species) out-of-fold scores.
    first : (n_recordings,) first window of each recording.
    Y : (n_recordings, n_species) truth of 1, 0 and nan.
    fold : (n_recordings,) fold of each recording.
    """
    own, common = (_best_pooling(P, first, Y, fold, metric, shrinkage) for shrinkage in (OWN, COMMON))
    return common if common[2] - own[2] > difference_error(metric, Y, common[1], own[1]) else own


def _best_pooling(
    P: np.ndarray, first: np.ndarray, Y: np.ndarray, fold: np.ndarray, metric: Metric, shrinkage: float
) -> tuple[Readout, np.ndarray, float]:
    candidates = []
    for how in POOLINGS:
        oof, calibrator = calibrate(pool(P, first, how), Y, fold, shrinkage)
        candidates.append((Readout(how, calibrator), oof, metric(Y, oof)))
    return max(candidates, key=lambda candidate: candidate[2])
