"""The two rows that say what a score is worth: `prior` and `background`."""

import time

import numpy as np

from features.frames.frames import Frames, background_spectrum
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.folds import out_of_fold, split
from models.metrics import METRICS
from models.scoring.aggregation import best_readout
from pipelines.core.runs import evaluations
from pipelines.core.task import Task
from pipelines.reporting.plots import update_leaderboard


def write_controls(task: Task) -> None:
    """Put the `prior` and `background` rows on the leaderboard."""
    for model, score in (("prior", prior), ("background", background)):
        started = time.perf_counter()
        oof, test = score(task)
        seconds = time.perf_counter() - started
        found = evaluations(task.dataset, oof, test, task.seed)
        update_leaderboard(task.results, model, found, {"oof": seconds, "test": seconds})


def prior(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return train and test scores that know only how many training recordings have each species."""
    oof = np.empty(task.truth.shape)
    for k in range(task.n_folds):
        oof[task.fold == k] = task.truth[task.fold != k].mean(axis=0)
    return oof, np.tile(task.truth.mean(axis=0), (len(task.dataset.test), 1))


def background(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return train and test scores of the GBM on each recording's median spectrum only.

    Calibrated as the models are. What it scores above `prior` comes from sites and sessions, not
    from calls.
    """
    X = task.compute("train", median_spectrum, "background")
    model = OneVsRestGBM(random_state=task.seed, n_jobs=task.jobs)
    *_, raw = out_of_fold(model, split(X, task.known, task.fold))
    each = np.arange(len(raw))  # a recording is one row
    readout, oof, _ = best_readout(raw, each, task.truth, task.fold, METRICS[task.metric])
    if not task.dataset.test:
        return oof, np.empty((0, task.dataset.n_species))
    X_test = task.compute("test", median_spectrum, "background")
    P = model.fit(X, task.known).predict_proba(X_test)
    return oof, readout(P, np.arange(len(P)))


def median_spectrum(frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
    return background_spectrum(frames.log_mel)[None, :]
