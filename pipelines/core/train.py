"""The training recipe of all members: cross-fit, aggregate, score the test recordings, write the run."""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from features.data.identity import data_identity
from models.metrics import METRICS
from models.scoring.aggregation import Aggregation, best_aggregation
from models.scoring.pooling import pool
from pipelines.core.baselines import write_baselines
from pipelines.core.cli import add_scheduler_flag, run, training_parser
from pipelines.core.evaluation import calibration_by_split, print_unverifiable
from pipelines.core.failed_recordings import print_failed
from pipelines.core.history import update_history
from pipelines.core.leaderboard import print_leaderboard, update_leaderboard
from pipelines.core.member import CrossFit, Member, SelfTrainingMember, WindowScorer
from pipelines.core.run_config import MEMBER
from pipelines.core.runs import NewRun, write_run
from pipelines.core.self_training import add_self_training_flags, self_train, validate_self_training
from pipelines.core.task import Task, load_task


def run_training_command(member: Member, description: str) -> None:
    """Run the command that trains a member.

    Parameters
    ----------
    description : text of `--help`.
    """
    parser = training_parser(description)
    add_scheduler_flag(parser)
    member.add_flags(parser)
    if isinstance(member, SelfTrainingMember):
        add_self_training_flags(parser)
    run(lambda args: train_member(member, args), parser, continues=True)


def default_arguments(member: Member, task: Task, *flags: str) -> argparse.Namespace:
    """Return the arguments of a member's command with some flags, and the seed and the jobs of a task."""
    parser = training_parser("")
    member.add_flags(parser)
    return parser.parse_args(["--seed", str(task.seed), "--jobs", str(task.jobs), *flags])


def train_member(member: Member, args: argparse.Namespace) -> None:
    """Train a member, write its run and the baselines, and print the leaderboard."""
    if isinstance(member, SelfTrainingMember):
        validate_self_training(args)
    task = load_task(args)
    try:
        # The last bits of a matrix product depend on the number of threads, and thus on the machine.
        with threadpool_limits(1, user_api="blas"):
            _train(member, task, args)
    finally:
        task.remove_temporary()


@dataclass(frozen=True)
class Trained:
    """The model of a member for new recordings, and scores of recordings.

    Attributes
    ----------
    scorer : the model.
    aggregation : how scores of windows become scores of a recording.
    oof, test : (n_recordings, n_species) scores; `test` is None without test recordings.
    pooled_oof, pooled_test : the same before calibration.
    seconds : time of fitting the model and of scoring the test recordings.
    """

    scorer: WindowScorer
    aggregation: Aggregation
    oof: np.ndarray
    test: np.ndarray | None
    pooled_oof: np.ndarray
    pooled_test: np.ndarray | None
    seconds: float


def finish(member: Member, task: Task, args: argparse.Namespace, cross_fit: CrossFit) -> Trained:
    """Aggregate out-of-fold scores, fit the model for new recordings, and score the test recordings."""
    first = task.first_windows("train")
    aggregation, oof, _ = best_aggregation(
        cross_fit.scores, first, task.truth, fold=task.fold, metric=METRICS[task.metric]
    )
    started = time.perf_counter()
    scorer = member.fit_final(task, args)
    test, pooled_test = None, None
    if task.dataset.test:
        P = scorer.predict(task.compute("test", scorer.inputs, "windows"))
        first_test = task.first_windows("test")
        test, pooled_test = map(
            task.highest_of_recording, (aggregation(P, first_test), pool(P, first_test, aggregation.pooling))
        )
    return Trained(
        scorer=scorer,
        aggregation=aggregation,
        oof=oof,
        test=test,
        pooled_oof=pool(cross_fit.scores, first, aggregation.pooling),
        pooled_test=pooled_test,
        seconds=time.perf_counter() - started,
    )


def _train(member: Member, task: Task, args: argparse.Namespace) -> None:
    """Do what `train_member` does, for a prepared task."""
    cross_fit = member.cross_fit(task, args)
    if isinstance(member, SelfTrainingMember) and args.self_train:
        cross_fit = self_train(member, task, args, cross_fit)
    trained = finish(member, task, args, cross_fit)
    calibration = calibration_by_split(
        task.dataset, (trained.pooled_oof, trained.pooled_test), (trained.oof, trained.test)
    )
    write_run(
        task.results,
        task.dataset,
        NewRun(
            name=member.name,
            kind=MEMBER,
            oof=trained.oof,
            test=trained.test,
            fold=task.fold,
            holdout=task.holdout,
            seconds={"oof": cross_fit.seconds, "test": trained.seconds},
            seed=task.seed,
            config={**task.config(), **trained.aggregation.config(), **cross_fit.config},
            metrics={**cross_fit.metrics, "calibration": calibration},
            parts=(trained.scorer,),
        ),
    )
    write_baselines(task)
    leaderboard = update_leaderboard(task.results, data_identity(task.dataset))
    update_history(task.results, task.dataset)
    print_leaderboard(leaderboard, task.results)
    print_unverifiable(task.dataset)
    if cross_fit.note:
        print(f"\n{cross_fit.note}")
    print_failed(task.results)
