"""Self-training of a member: its scores of windows with unknown labels become labels of its next fit."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from features.common.errors import UserError
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
        outside, mean = [], np.zeros(Y.shape)
        for k, P in enumerate(member.teach(task)):
            outside.append(with_soft_labels(Y, P, fold != k))
            mean += P / task.n_folds
        mean[: len(latest.scores)] = latest.scores
        labels = TrainingLabels(outside, with_soft_labels(Y, mean, np.ones(len(Y), bool)))
        latest = member.refit(task, args, labels, number)
        seconds += latest.seconds
    n_added = int((~np.isnan(labels.whole)).sum() - (~np.isnan(Y)).sum())
    print(f"self-training: {n_added} soft labels, {int((Y == 1).sum())} windows with a call")
    settings = {"rounds": args.self_train, "quota": QUOTA, "min_score": MIN_SCORE, "n_soft_labels": n_added}
    return replace(
        latest,
        seconds=seconds,
        config={**first.config, **latest.config, "self_training": settings},
        metrics={**first.metrics, **latest.metrics},
        note=first.note,
    )
