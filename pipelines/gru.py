"""A small bidirectional GRU with attention pooling on the frames of the same windows."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import signal
import time

import joblib
import numpy as np
import torch
from tqdm import tqdm

from features.columns.sequences import window_sequences
from features.common.files import digest, write_json
from models.estimators.gru import CELLS, DEVICES, VERSION, GRUClassifier, resolve_device
from models.metrics import METRICS
from models.scoring.aggregation import best_readout
from models.scoring.pooling import pool
from pipelines.core.baselines import write_controls
from pipelines.core.cli import positive, run, training_parser
from pipelines.core.failed_recordings import print_failed
from pipelines.core.runs import calibrations, write_run
from pipelines.core.task import Task, load_task
from pipelines.reporting.plots import print_leaderboard


def main(args: argparse.Namespace) -> None:
    resolve_device(args.device)  # a GPU that is not there is said before anything is computed
    torch.set_num_threads(1)  # the parallel work is in processes, and more threads round differently
    task = load_task(args)
    model = GRUClassifier(cell=args.cell, epochs=args.epochs, device=args.device)
    X, Y = task.compute("train", window_sequences, "sequences"), task.labels

    models = fit_folds(task, model, X, Y, task.results / "gru")
    fold, first = task.per_window(task.fold), task.first_windows("train")
    windows = np.zeros(Y.shape)
    for k, fitted in enumerate(models):
        windows[fold == k] = fitted.predict_proba(X[fold == k])
    readout, oof, _ = best_readout(windows, first, task.truth, task.fold, METRICS[task.metric])
    seconds = {"oof": sum(fitted.seconds_ for fitted in models)}

    # The test recordings are new to all folds' models, so their mean scores them.
    started, test, raw_test = time.perf_counter(), None, None
    if task.dataset.test:
        X_test = task.compute("test", window_sequences, "sequences")
        mean = np.stack([fitted.predict_proba(X_test) for fitted in models]).mean(axis=0, dtype=np.float64)
        test = readout(mean, task.first_windows("test"))
        raw_test = pool(mean, task.first_windows("test"), readout.pooling)
    seconds["test"] = time.perf_counter() - started

    config = {
        **task.config(),
        "params": model.get_params(),
        **readout.config(),
    }
    raw = pool(windows, first, readout.pooling), raw_test
    metrics = {
        "loss": [fitted.history_ for fitted in models],
        "calibration": calibrations(task.dataset, raw, (oof, test)),
    }
    write_controls(task)
    leaderboard = write_run(
        task.results, "gru", task.dataset, oof, test, task.fold, seconds, args.seed, config, metrics
    )
    print_leaderboard(leaderboard, task.results)
    print_failed(task.results)


def fit_folds(
    task: Task, model: GRUClassifier, X: np.ndarray, Y: np.ndarray, folder: Path
) -> list[GRUClassifier]:
    """Return a model for each fold, fitted on the other folds, or read if it was fitted before."""
    state = digest(VERSION, model.get_params(), X, Y, task.fold, task.seed)
    checkpoints = folder / "checkpoints.json"
    if not checkpoints.exists() or state not in checkpoints.read_text(encoding="utf-8"):
        for stale in folder.glob("fold*.pt"):
            stale.unlink()
        write_json(checkpoints, {"digest": state})
    files = [folder / f"fold{k}.pt" for k in range(task.n_folds)]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    # What Ctrl-C leaves in shared memory is cleared away; that need not be said.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    # One process for each fold on a CPU; on a GPU one after the other.
    on_gpu = resolve_device(model.device).type == "cuda"
    joblib.Parallel(n_jobs=1 if on_gpu else task.jobs)(
        joblib.delayed(fit_fold)(task, model, X, Y, k, files[k], os.getpid()) for k in missing
    )
    return [GRUClassifier.load(file) for file in files]


def fit_fold(
    task: Task, model: GRUClassifier, X: np.ndarray, Y: np.ndarray, k: int, file: Path, command: int
) -> None:
    """Fit on the windows outside fold `k` and write the model to `file`.

    Parameters
    ----------
    command : process id of the command; it may be this process, and if it is another, that may be killed.
    """
    is_child = os.getpid() != command
    if is_child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to answer
    torch.set_num_threads(1)
    rows = task.per_window(task.fold) != k
    fitted = GRUClassifier(**{**model.get_params(), "random_state": task.seed + k})
    with tqdm(desc=f"fold {k}", total=model.epochs, unit="epoch", position=k) as progress:

        def show(loss: float) -> None:
            if is_child and os.getppid() != command:
                os._exit(1)  # else it would write beside the command that goes on from here
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}")

        fitted.fit(X[rows], Y[rows], on_epoch=show)
    fitted.save(file)


if __name__ == "__main__":
    defaults = GRUClassifier()
    parser = training_parser(__doc__)
    parser.add_argument("--cell", choices=CELLS, default=defaults.cell, help="recurrent cell")
    parser.add_argument("--epochs", type=positive, default=defaults.epochs, help="epochs of training")
    parser.add_argument("--device", choices=DEVICES, default=defaults.device, help="where to train")
    run(main, parser)
