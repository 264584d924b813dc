"""One-vs-rest LightGBM on described windows, tuned by Optuna."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time

from tqdm import tqdm

from features.common.files import digest
from models import tuning
from models.estimators.one_vs_rest_gbm import VERSION, OneVsRestGBM
from models.folds import out_of_fold
from models.metrics import METRICS
from models.scoring.aggregation import best_readout
from models.scoring.pooling import pool
from pipelines.core.baselines import write_controls
from pipelines.core.cli import positive, run, training_parser
from pipelines.core.failed_recordings import print_failed
from pipelines.core.runs import calibrations, write_run
from pipelines.core.task import load_task
from pipelines.core.training_windows import Examples
from pipelines.reporting.plots import print_leaderboard


def main(args: argparse.Namespace) -> None:
    task = load_task(args)
    examples, first, metric = Examples(task), task.first_windows("train"), METRICS[task.metric]
    folds = [examples.fold(k) for k in range(task.n_folds)]

    # A study belongs to all that its scores hang on; anything else starts another one.
    arrays = [array for fold in folds for array in (fold.X, fold.Y, fold.X_held)]
    state = digest(VERSION, tuning.VERSION, tuning.SPACE, *arrays, task.fold, task.truth, args.seed)
    study = f"gbm-{task.metric}-{state}"
    database = task.results / "optuna.db"
    trial_task = tuning.Task(folds, first, task.fold, task.truth, metric)
    params = tuning.tune(trial_task, args.trials, args.seed, args.jobs, database, study)

    started = time.perf_counter()
    model = OneVsRestGBM(**params, random_state=args.seed, n_jobs=args.jobs)
    *_, P = tqdm(out_of_fold(model, folds), desc="best trial", total=task.n_folds, unit="fold")
    readout, oof, _ = best_readout(P, first, task.truth, task.fold, metric)
    seconds = {"oof": time.perf_counter() - started}

    started = time.perf_counter()
    model.fit(*examples.whole())
    test, raw_test = None, None
    if task.dataset.test:
        X_test = task.compute("test", examples.descriptor.describe, "descriptors")
        P_test = model.predict_proba(X_test)
        test = readout(P_test, task.first_windows("test"))
        raw_test = pool(P_test, task.first_windows("test"), readout.pooling)
    seconds["test"] = time.perf_counter() - started

    config = {
        **task.config(),
        "params": params,
        **readout.config(),
        "study": study,
        "features": examples.descriptor.names(),
    }
    raw = pool(P, first, readout.pooling), raw_test
    write_controls(task)
    leaderboard = write_run(
        task.results,
        "gbm",
        task.dataset,
        oof,
        test,
        task.fold,
        seconds,
        args.seed,
        config,
        metrics={"calibration": calibrations(task.dataset, raw, (oof, test))},
        models=(examples.descriptor, model),
    )
    print_leaderboard(leaderboard, task.results)
    print(f"\nthe study: make dashboard, or optuna-dashboard 'sqlite:///{database}'")
    print_failed(task.results)


if __name__ == "__main__":
    parser = training_parser(__doc__)
    parser.add_argument("--trials", type=positive, default=8, help="trials of the study in all")
    run(main, parser)
