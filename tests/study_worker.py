"""Work on a study: python tests/study_worker.py URL N_TRIALS SECONDS_PER_FIT."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import time

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from sklearn.base import BaseEstimator

from models.folds import split
from models.metrics import lrap
from models.study import SearchSpace, Study
from models.tuning import CrossValidation, Tuned, tune

NAME = "shared"
SPACE = SearchSpace(
    {"width": FloatDistribution(0.1, 10, log=True), "shift": IntDistribution(0, 100)},
    {"width": 1.0, "shift": 50},
)


class Slow(BaseEstimator):
    """A classifier that needs some time; how well it ranks the species depends on its parameters."""

    def __init__(self, width: float = 1.0, shift: int = 0, seconds: float = 0.0) -> None:
        self.width = width
        self.shift = shift
        self.seconds = seconds

    def fit(self, X: np.ndarray, Y: np.ndarray) -> "Slow":
        print("fit", flush=True)
        time.sleep(self.seconds)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        noise = abs(np.log(self.width)) + abs(self.shift - 30) / 20
        P = X + noise * np.random.default_rng(0).normal(size=X.shape)
        return np.asarray(1 / (1 + np.exp(-P)))


def run(storage: str, n_trials: int, seconds: float = 0.0) -> Tuned:
    """Run trials of a study until it has `n_trials`, and return the result.

    Parameters
    ----------
    seconds : duration of a fit.
    """
    recording = np.arange(60)
    truth, fold = np.eye(4)[recording % 4], recording // 4 % 3
    validation = CrossValidation(split(truth, truth, fold), recording, fold, truth, lrap)
    study = Study(storage, NAME, n_trials, seed=0, heartbeat=1)
    return tune(lambda parameters: Slow(**parameters, seconds=seconds), validation, space=SPACE, study=study)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
