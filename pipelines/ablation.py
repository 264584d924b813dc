"""What parts of the GBM and families of columns are worth, and what peers score on the same examples."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from features.columns.species_bands import BAND_MEASURES
from features.columns.templates import TEMPLATE_MEASURES
from features.common.files import replacing
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant
from models.folds import Fold, out_of_fold
from models.metrics import METRICS, auc_per_species, bootstrap_interval, lrap, lrap_per_recording
from models.scoring.aggregation import best_readout
from models.scoring.pooling import pool
from pipelines.benchmarks.reference_implementations import classical_peers
from pipelines.core.cli import run, training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import Examples

LIBROSA = ("mfcc", "contrast")
"""Columns that equal librosa's features of these names."""


class Contestant(NamedTuple):
    name: str
    model: BaseEstimator
    columns: np.ndarray
    overlays: bool


def contestants(task: Task, names: list[str], with_peers: bool) -> Iterator[Contestant]:
    """Yield the GBM on all columns, its parts, on more and more, on all but each family, and peers."""
    n_species = task.dataset.n_species
    everything = np.arange(len(names))
    n_templates, n_bands = len(TEMPLATE_MEASURES) * n_species, len(BAND_MEASURES) * n_species
    statistics, bands, templates = np.split(
        everything, [len(names) - n_templates - n_bands, len(names) - n_templates]
    )
    librosa = np.array([k for k in statistics if names[k].startswith(LIBROSA)])
    gbm = OneVsRestGBM(random_state=task.seed, n_jobs=task.jobs)
    yield Contestant("gbm, all", gbm, everything, overlays=True)
    yield Contestant("trees alone", clone(gbm).set_params(linear_share=0), everything, overlays=True)
    yield Contestant("linear part alone", RidgeDiscriminant(), everything, overlays=True)
    yield Contestant("MFCC and contrast", gbm, librosa, overlays=False)
    yield Contestant("+ band energies", gbm, statistics, overlays=False)
    yield Contestant("+ own bands", gbm, np.concatenate([statistics, bands]), overlays=False)
    yield Contestant("+ own templates = all but overlays", gbm, everything, overlays=False)
    yield Contestant("all but band energies", gbm, np.r_[librosa, bands, templates], overlays=True)
    yield Contestant("all but own bands", gbm, np.concatenate([statistics, templates]), overlays=True)
    yield Contestant("all but own templates", gbm, np.concatenate([statistics, bands]), overlays=True)
    if not with_peers:
        return
    for name, peer in classical_peers(task.seed, task.jobs).items():
        yield Contestant(f"{name}, all", peer, everything, overlays=True)
        if name == "default LightGBM":
            yield Contestant(f"{name}, MFCC and contrast", peer, librosa, overlays=False)


class Data(NamedTuple):
    folds: list[Fold]
    whole: tuple[np.ndarray, np.ndarray]


def main(args: argparse.Namespace) -> None:
    task = load_task(args)
    data = {}
    for overlays in (True, False):
        examples = Examples(task) if overlays else Examples(task, n_overlays=0)
        data[overlays] = Data([examples.fold(k) for k in range(task.n_folds)], examples.whole())
    X_test = None
    if task.dataset.test_labels is not None:
        X_test = task.compute("test", examples.descriptor.describe, "descriptors")

    rows: list[dict[str, Any]] = []
    reference: dict[str, np.ndarray] = {}
    file = task.results / "ablation.csv"
    for contestant in contestants(task, examples.descriptor.names(), args.peers):
        row, per_recording = evaluate(task, contestant, data[contestant.overlays], X_test)
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


def evaluate(
    task: Task, contestant: Contestant, data: Data, X_test: np.ndarray | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a contestant's row, and its LRAP of each recording by split."""
    columns, first = contestant.columns, task.first_windows("train")
    folds = [replace(fold, X=fold.X[:, columns], X_held=fold.X_held[:, columns]) for fold in data.folds]
    started = time.perf_counter()
    *_, P = out_of_fold(contestant.model, folds)
    seconds = time.perf_counter() - started
    readout, oof, _ = best_readout(P, first, task.truth, task.fold, METRICS[task.metric])
    row = {
        "what": contestant.name,
        "columns": len(columns),
        "seconds": seconds,
        "oof_uncalibrated": lrap(task.truth, pool(P, first, "max")),
        "oof_lrap": lrap(task.truth, oof),
        "oof_auc": float(np.nanmean(auc_per_species(task.truth, oof))),
    }
    per_recording = {"oof": lrap_per_recording(task.truth, oof)}
    if X_test is not None:
        assert task.dataset.test_labels is not None
        truth, (X, Y) = task.dataset.test_labels.astype(float), data.whole
        model = contestant.model.fit(X[:, columns], Y)
        test = readout(model.predict_proba(X_test[:, columns]), task.first_windows("test"))
        row["test_lrap"] = lrap(truth, test)
        row["test_auc"] = float(np.nanmean(auc_per_species(truth, test)))
        per_recording["test"] = lrap_per_recording(truth, test)
    return row, per_recording


if __name__ == "__main__":
    parser = training_parser(__doc__)
    parser.add_argument("--peers", action="store_true", help="also fit what others would; takes longer")
    run(main, parser)
