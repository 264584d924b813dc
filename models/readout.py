"""Scores of windows -> comparable scores of recordings: the pooling and the calibration that rank best."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.calibration import PlattCalibrator, calibrate
from models.pooling import POOLINGS, pool

SHRINKAGES = (5.0, 20.0, np.inf)
"""From curves that a few positives move to one for all species, which leaves every ranking as it is."""


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
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[Readout, np.ndarray, float]:
    """Return the readout whose out-of-fold scores are best, those scores, and their metric.

    Whether species' own curves help is the data's to say: where folds keep sites whole, a fold's
    species can be strangers to the others, and their curves mislead.

    Parameters
    ----------
    P : (n_windows, n_species) out-of-fold scores.
    first : (n_recordings,) first window of each recording.
    Y : (n_recordings, n_species) truth of 1, 0 and nan.
    fold : (n_recordings,) fold of each recording.
    """
    candidates = []
    for how in POOLINGS:
        pooled = pool(P, first, how)
        for shrinkage in SHRINKAGES:
            oof, calibrator = calibrate(pooled, Y, fold, shrinkage)
            candidates.append((Readout(how, calibrator), oof, metric(Y, oof)))
    return max(candidates, key=lambda candidate: candidate[2])
