"""Self-training of a member: its scores of windows with unknown labels become labels of its next fit."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from features.common.errors import UserError
from features.common.files import digest
from features.data.audio import source_of
from models.self_training import MIN_SCORE, QUOTA, TrainingLabels, with_soft_labels
from pipelines.core.cli import natural
from pipelines.core.member import CrossFit, SelfTrainingMember
from pipelines.core.task import Task


def add_self_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags `--self-train` and `--unlabelled` to a parser."""
    parser.add_argument(
        "--self-train",
        type=natural,
        default=0,
        metavar="ROUNDS",
        help="number of further fits, in which high scores of the fit before are labels of unknown windows",
    )
    parser.add_argument(
        "--unlabelled",
        type=Path,
        metavar="FOLDER",
        help="further recordings for --self-train, without labels",
    )


def validate_self_training(args: argparse.Namespace) -> None:
    """Raise UserError if there are recordings for self-training, but no rounds of it."""
    if args.unlabelled and not args.self_train:
        raise UserError(f"--unlabelled {args.unlabelled}: only self-training uses it; add --self-train 1")


def self_train(member: SelfTrainingMember, task: Task, args: argparse.Namespace, first: CrossFit) -> CrossFit:
    """Return the result of the last round of self-training.

    The soft labels for the model of a fold are scores of the model of the same fold in the round before,
    which has not seen the recordings of the fold either. Those for the model of all folds are out-of-fold
    scores, and for unlabelled recordings the mean over the models of all folds.

    Parameters
    ----------
    first : result of `member.cross_fit`.
    """
    fold, Y = task.fold_of_window, task.labels
    latest, seconds = first, first.seconds
    for number in range(1, args.self_train + 1):
        started = time.perf_counter()
        outside, mean = [], np.zeros(Y.shape)
        for k, P in enumerate(member.teach(task)):
            outside.append(with_soft_labels(Y, P, fold != k))
            mean += P / task.n_folds
        mean[: len(latest.scores)] = latest.scores
        labels = TrainingLabels(outside, with_soft_labels(Y, mean, np.ones(len(Y), bool)))
        seconds += time.perf_counter() - started
        latest = member.refit(task, args, labels, number)
        seconds += latest.seconds
    n_added = [int((~np.isnan(of_fold)).sum() - (~np.isnan(Y)).sum()) for of_fold in labels.outside]
    print(
        f"self-training: {np.mean(n_added):.0f} soft labels for the model of a fold; {int((Y == 1).sum())} "
        f"labels of calls"
    )
    return replace(
        latest,
        seconds=seconds,
        config={**first.config, **latest.config, "self_training": _settings(task, args.self_train, n_added)},
        metrics={**first.metrics, **latest.metrics},
        note=first.note,
    )


def _settings(task: Task, n_rounds: int, n_added: list[int]) -> dict[str, Any]:
    """Return what the scores depend on, for a run's config.json, and the numbers of soft labels."""
    unlabelled = [(recording_id, source_of(file)) for recording_id, file in task.unlabelled.items()]
    return {
        "rounds": n_rounds,
        "quota": QUOTA,
        "min_score": MIN_SCORE,
        "unlabelled": {"recordings": len(unlabelled), "digest": digest(*unlabelled)},
        "n_soft_labels": n_added,
    }
