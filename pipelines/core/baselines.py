"""The baselines `prior` and `background`: scores that a model can reach without recognising any call."""

import time

import numpy as np

from features.frames.frames import Frames, background_spectrum
from models.estimators.trees_and_linear import default_model
from models.folds import out_of_fold, split
from models.metrics import METRICS
from models.scoring.aggregation import best_aggregation
from pipelines.core.run_config import BASELINE
from pipelines.core.runs import NewRun, write_run
from pipelines.core.task import Task


def write_baselines(task: Task) -> None:
    """Write the runs `prior` and `background`."""
    for name, score in (("prior", prior), ("background", background)):
        started = time.perf_counter()
        oof, test = score(task)
        seconds = time.perf_counter() - started
        run = NewRun(
            name=name,
            kind=BASELINE,
            oof=oof,
            test=test if task.dataset.test else None,
            fold=task.fold,
            holdout=task.holdout,
            seconds={"oof": seconds, "test": seconds},
            seed=task.seed,
            config=task.config(),
        )
        write_run(task.results, task.dataset, run)


def prior(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test scores: for each species, the share of training recordings with it."""
    oof = np.empty(task.truth.shape)
    for k in range(task.n_folds):
        oof[task.fold == k] = task.truth[task.fold != k].mean(axis=0)
    return oof, np.tile(task.truth.mean(axis=0), (len(task.dataset.test), 1))


def background(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated training and test scores that only use the median spectrum of each recording.

    If they are better than `prior`, the model recognises the site or the time of a recording, not its calls.
    """
    X = task.compute("train", median_spectrum, "background")
    model = default_model(task.seed, task.jobs_per_fit)
    *_, raw = out_of_fold(model, split(X, task.known, task.fold))
    each = np.arange(len(raw))  # each recording is one row
    aggregation, oof, _ = best_aggregation(raw, each, task.truth, fold=task.fold, metric=METRICS[task.metric])
    if not task.dataset.test:
        return oof, np.empty((0, task.dataset.n_species))
    X_test = task.compute("test", median_spectrum, "background")
    P = model.fit(X, task.known).predict_proba(X_test)
    return oof, task.highest_of_recording(aggregation(P, np.arange(len(P))))


def median_spectrum(frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the median spectrum of a recording, dB, shape (1, n_mels)."""
    return background_spectrum(frames.log_mel)[None, :]
