"""One-vs-rest LightGBM on window statistics, tuned by Optuna."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import time
from functools import partial

from tqdm import tqdm

from features.files import digest
from features.statistics import feature_names, window_statistics
from models import tuning
from models.folds import out_of_fold
from models.gbm import VERSION, OneVsRestGBM
from models.metrics import METRICS
from models.readout import best_readout
from pipelines.common import load_task, positive, run, training_parser
from pipelines.controls import write_controls
from pipelines.report import print_leaderboard
from pipelines.runs import write_run


def main(args: argparse.Namespace) -> None:
    task = load_task(args)
    settings = task.store.settings
    statistics = partial(window_statistics, settings=settings)
    X, Y = task.compute("train", statistics, "statistics"), task.labels
    first, fold, metric = task.first_windows("train"), task.per_window(task.fold), METRICS[task.metric]

    # A study belongs to all that its scores hang on; anything else starts another one.
    state = digest(VERSION, tuning.VERSION, tuning.SPACE, X, Y, fold, task.truth, args.seed)
    study = f"gbm-{task.metric}-{state}"
    database = task.results / "optuna.db"
    trial_task = tuning.Task(X, Y, first, fold, task.truth, metric)
    params = tuning.tune(trial_task, args.trials, args.seed, args.jobs, database, study)

    started = time.perf_counter()
    model = OneVsRestGBM(**params, random_state=args.seed, n_jobs=args.jobs)
    *_, P = tqdm(out_of_fold(model, X, Y, fold), desc="best trial", total=task.n_folds, unit="fold")
    readout, oof, _ = best_readout(P, first, task.truth, task.fold, metric)
    seconds = {"oof": time.perf_counter() - started}

    started = time.perf_counter()
    model.fit(X, Y)
    test = None
    if task.dataset.test:
        X_test = task.compute("test", statistics, "statistics")
        test = readout(model.predict_proba(X_test), task.first_windows("test"))
    seconds["test"] = time.perf_counter() - started

    model.save(task.results / "gbm")
    config = {
        **task.config(),
        "species": list(task.dataset.species),
        "params": params,
        **readout.config(),
        "study": study,
        "features": feature_names(settings),
    }
    write_controls(task)
    leaderboard = write_run(
        task.results, "gbm", task.dataset, oof, test, task.fold, seconds, args.seed, config, metrics={}
    )
    print_leaderboard(leaderboard, task.results)
    print(f"\nthe study: make dashboard, or optuna-dashboard 'sqlite:///{database}'")


if __name__ == "__main__":
    parser = training_parser(__doc__)
    parser.add_argument("--trials", type=positive, default=10, help="trials of the study in all")
    run(main, parser)
