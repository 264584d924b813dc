"""Compare the GBM with and without its parts and blocks of columns, on the same windows and folds."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from features.columns.window_features import WindowFeatures
from features.common.files import replacing
from models.folds import Fold, out_of_fold
from models.metrics import METRICS, auc_per_species, bootstrap_interval, lrap, lrap_per_recording
from models.scoring.aggregation import best_aggregation
from models.scoring.pooling import pool
from pipelines.benchmarks.front_ends import compare_front_ends
from pipelines.benchmarks.recording_peers import Entry, compare_recordings
from pipelines.benchmarks.reference_implementations import classical_peers
from pipelines.core.cli import run, training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import TrainingWindows
from pipelines.members.gbm import default_parameters, make_model

LIBROSA = ("mfcc", "contrast")
"""Prefixes of the columns that are computed from librosa's MFCC and spectral contrast."""


class Contestant(NamedTuple):
    """A model to compare: the estimator, its columns, and whether it is fitted on overlays too."""

    name: str
    model: BaseEstimator
    columns: np.ndarray
    overlays: bool


class Data(NamedTuple):
    """The training examples of each fold, and of all folds together."""

    folds: list[Fold]
    whole: tuple[np.ndarray, np.ndarray]


def contestants(task: Task, features: WindowFeatures, with_peers: bool) -> Iterator[Contestant]:
    """Yield the GBM on all columns, its parts, the GBM on fewer columns, and peers if `with_peers`."""
    names, slices = features.names(), features.slices()
    everything = np.arange(len(names))
    librosa = np.array([k for k in everything if names[k].startswith(LIBROSA)])
    gbm = make_model(default_parameters(), seed=task.seed, n_jobs=task.jobs)
    yield Contestant("all", gbm, everything, overlays=True)
    for name, part in gbm.estimators:
        yield Contestant(f"{name} alone", part, everything, overlays=True)
    yield Contestant("MFCC and contrast, no overlays", gbm, librosa, overlays=False)
    for block, columns in slices.items():
        yield Contestant(
            f"blocks up to {block}, no overlays", gbm, everything[: columns.stop], overlays=False
        )
    for block, columns in slices.items():
        yield Contestant(f"all but {block}", gbm, np.delete(everything, columns), overlays=True)
    if not with_peers:
        return
    for name, peer in classical_peers(task.seed, task.jobs).items():
        yield Contestant(f"{name}, all", peer, everything, overlays=True)
        if name == "default LightGBM":
            yield Contestant(f"{name}, MFCC and contrast, no overlays", peer, librosa, overlays=False)


def main(args: argparse.Namespace) -> None:
    task = load_task(args)
    data = {}
    for overlays in (True, False):
        windows = TrainingWindows(task) if overlays else TrainingWindows(task, n_overlays=0)
        data[overlays] = Data([windows.fold(k) for k in range(task.n_folds)], windows.whole())
    features = windows.features
    X_test = None
    if task.dataset.test_labels is not None:
        X_test = task.compute("test", features.transform, "columns")

    entries: Iterator[Entry] = (
        evaluate(task, contestant, data[contestant.overlays], X_test=X_test)
        for contestant in contestants(task, features, args.peers)
    )
    if args.peers:
        entries = chain(entries, compare_front_ends(task), compare_recordings(task))
    rows: list[dict[str, Any]] = []
    reference: dict[str, np.ndarray] = {}
    file = task.results / "ablation.csv"
    for entry in entries:
        row, per_recording = row_of(task, entry)
        reference = reference or per_recording
        for split, values in per_recording.items():
            difference = reference[split] - values
            low, high = bootstrap_interval(difference, args.seed)
            row[f"{split}_behind"] = float(np.nanmean(difference))
            row[f"{split}_behind_low"], row[f"{split}_behind_high"] = low, high
        rows.append(row)
        print(
            ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else str(v) for k, v in row.items()), flush=True
        )
        with replacing(file) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.4f")
    print(f"\n{file}")


def evaluate(task: Task, contestant: Contestant, data: Data, *, X_test: np.ndarray | None) -> Entry:
    """Return the scores of a model on windows."""
    columns, first = contestant.columns, task.first_windows("train")
    folds = [replace(fold, X=fold.X[:, columns], X_held=fold.X_held[:, columns]) for fold in data.folds]
    started = time.perf_counter()
    *_, P = out_of_fold(contestant.model, folds)
    seconds = time.perf_counter() - started
    aggregation, oof, _ = best_aggregation(P, first, task.truth, fold=task.fold, metric=METRICS[task.metric])
    test = None
    if X_test is not None:
        X, Y = data.whole
        model = contestant.model.fit(X[:, columns], Y)
        test = task.highest_of_recording(
            aggregation(model.predict_proba(X_test[:, columns]), task.first_windows("test"))
        )
    return Entry(contestant.name, len(columns), seconds, pool(P, first, "max"), oof, test)


def row_of(task: Task, entry: Entry) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the table row of a model, and its LRAP for each recording, by split."""
    truth, oof = task.truth[task.holdout], entry.oof[task.holdout]
    row = {
        "what": entry.name,
        "columns": entry.n_columns,
        "seconds": entry.seconds,
        "oof_uncalibrated": lrap(truth, entry.uncalibrated[task.holdout]),
        "oof_lrap": lrap(truth, oof),
        "oof_auc": float(np.nanmean(auc_per_species(truth, oof))),
    }
    per_recording = {"oof": lrap_per_recording(truth, oof)}
    if entry.test is not None and task.dataset.test_labels is not None:
        truth = task.dataset.test_labels.astype(float)
        row["test_lrap"] = lrap(truth, entry.test)
        row["test_auc"] = float(np.nanmean(auc_per_species(truth, entry.test)))
        per_recording["test"] = lrap_per_recording(truth, entry.test)
    return row, per_recording


if __name__ == "__main__":
    parser = training_parser(__doc__)
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also fit other models on the same columns, other front ends, and models of whole recordings",
    )
    run(main, parser)
