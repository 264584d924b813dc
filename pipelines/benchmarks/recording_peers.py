"""Peers that score whole recordings: multi-label classifiers, openSMILE functionals and MiniRocket."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from features.columns.statistics import Statistics
from features.data.audio import Clip
from features.frames.frames import Frames
from features.frames.segments import divide
from models.folds import out_of_fold, split
from models.metrics import METRICS
from models.scoring.aggregation import best_aggregation
from pipelines.benchmarks.multilabel_peers import multilabel_models
from pipelines.benchmarks.reference_implementations import classical_peers
from pipelines.core.task import Task

Table = tuple[np.ndarray, np.ndarray]
"""Columns of the training recordings and of the segments of the test recordings."""


class Entry(NamedTuple):
    """Scores of a model of the ablation.

    Attributes
    ----------
    name : name of the model.
    n_columns : number of its columns.
    seconds : time of fitting and scoring the models of all folds.
    uncalibrated, oof : (n_train, n_species) out-of-fold scores, before and after calibration.
    test : (n_test, n_species) scores of the test recordings; can be None without test labels.
    """

    name: str
    n_columns: int
    seconds: float
    uncalibrated: np.ndarray
    oof: np.ndarray
    test: np.ndarray | None


def compare_recordings(task: Task) -> Iterator[Entry]:
    """Yield the scores of the peers whose packages are installed."""
    columns = _of_both_splits(task, recording_columns)
    for name, model in multilabel_models(task.seed, task.jobs_per_fit).items():
        yield evaluate_recordings(task, f"{name}, recordings", model, columns)
    ridge = classical_peers(task.seed, task.jobs_per_fit)["ridge"]
    for name, table in (("openSMILE functionals", _functionals(task)), ("MiniRocket", _minirocket(task))):
        if table is None:
            print(f"{name}: not installed; run pip install -e '.[peers]' in another environment")
        else:
            yield evaluate_recordings(task, f"{name}, ridge, recordings", ridge, table)


def recording_columns(frames: Frames, starts: np.ndarray, length: int, block: Statistics) -> np.ndarray:
    """Return mean, standard deviation and maximum of the statistics of windows, (1, n_columns)."""
    windows = block.measure(frames, starts, length)
    return np.concatenate([windows.mean(axis=0), windows.std(axis=0), windows.max(axis=0)])[None]


def evaluate_recordings(task: Task, name: str, model: BaseEstimator, table: Table) -> Entry:
    """Return the scores of a model on one row of columns per recording."""
    X, X_test = table
    started = time.perf_counter()
    *_, raw = out_of_fold(model, split(X, task.known, task.fold))
    seconds = time.perf_counter() - started
    each = np.arange(len(raw))
    aggregation, oof, _ = best_aggregation(raw, each, task.truth, fold=task.fold, metric=METRICS[task.metric])
    test = None
    if task.dataset.test_labels is not None:
        P = aggregation(model.fit(X, task.known).predict_proba(X_test), np.arange(len(X_test)))
        test = task.highest_of_recording(P)
    return Entry(name, X.shape[1], seconds, raw, oof, test)


def _of_both_splits(task: Task, function: Callable[..., np.ndarray]) -> Table:
    """Return the columns that a function of frames returns."""
    block = Statistics(task.store.settings)

    def rows(frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return function(frames, starts, length, block)

    train = task.compute("train", rows, "columns")
    return train, task.compute("test", rows, "columns") if task.dataset.test else train[:0]


def _functionals(task: Task) -> Table | None:
    """Return the functionals of the ComParE 2016 set; None without openSMILE."""
    try:
        import opensmile
    except ImportError:
        return None
    smile = opensmile.Smile(
        opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals, num_workers=task.jobs
    )
    train, test = (
        np.nan_to_num(smile.process_files(**_parts(recordings)).to_numpy())
        if recordings
        else np.empty((0, len(smile.column_names)))
        for recordings in (list(task.dataset.train.values()), list(task.dataset.test.values()))
    )
    # All segments of a recording that is longer than those of training have the functionals of the whole.
    n_segments = [len(divide(extent.n_frames, task.longest)) for extent in task.extents("test").values()]
    return train, np.repeat(test, n_segments, axis=0)


def _parts(recordings: Sequence[Path | Clip]) -> dict[str, Any]:
    """Return the arguments of openSMILE for recordings that can be clips of a file."""
    clips = [audio if isinstance(audio, Clip) else Clip(audio, 0.0, np.nan) for audio in recordings]
    starts, ends = (
        pd.to_timedelta([getattr(clip, name) for clip in clips], unit="s") for name in ("start", "end")
    )
    return {"files": [clip.path for clip in clips], "starts": starts, "ends": ends}


def _minirocket(task: Task) -> Table | None:
    """Return the features of MiniRocket [1]_ on the mel-band levels of whole recordings; None without aeon.

    References
    ----------
    .. [1] Dempster, Schmidt and Webb (2021), "MiniRocket: a very fast (almost) deterministic transform for
       time series classification".
    """
    try:
        from aeon.transformations.collection.convolution_based import MiniRocket
    except ImportError:
        return None

    def levels(frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        n = min(len(frames), task.longest)
        padded = np.zeros((task.longest, frames.levels.shape[1]), np.float32)
        padded[:n] = frames.levels[:n]
        return padded.T[None]  # (1, n_mels, n_frames)

    train = task.compute("train", levels, "levels")
    transform = MiniRocket(random_state=task.seed, n_jobs=task.jobs).fit(train)
    test = task.compute("test", levels, "levels") if task.dataset.test else train[:0]
    return transform.transform(train), transform.transform(test) if len(test) else np.empty((0, 1))
