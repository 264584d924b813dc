"""The training recipe of all members: cross-fit, aggregate, score the test recordings, write the run."""

import argparse
import time

from threadpoolctl import threadpool_limits

from features.data.identity import data_identity
from models.metrics import METRICS
from models.scoring.aggregation import best_aggregation
from models.scoring.pooling import pool
from pipelines.core.baselines import write_baselines
from pipelines.core.cli import add_scheduler_flag, run, training_parser
from pipelines.core.evaluation import calibration_by_split, print_unverifiable
from pipelines.core.failed_recordings import print_failed
from pipelines.core.history import update_history
from pipelines.core.leaderboard import print_leaderboard, update_leaderboard
from pipelines.core.member import Member
from pipelines.core.run_config import MEMBER
from pipelines.core.runs import NewRun, write_run
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
    run(lambda args: train_member(member, args), parser, continues=True)


def train_member(member: Member, args: argparse.Namespace) -> None:
    """Train a member, write its run and the baselines, and print the leaderboard."""
    task = load_task(args)
    try:
        # The last bits of a matrix product depend on the number of threads, and thus on the machine.
        with threadpool_limits(1, user_api="blas"):
            _train(member, task, args)
    finally:
        task.remove_temporary()


def _train(member: Member, task: Task, args: argparse.Namespace) -> None:
    """Do what `train_member` does, for a prepared task."""
    cross_fit = member.cross_fit(task, args)
    first = task.first_windows("train")
    aggregation, oof, _ = best_aggregation(
        cross_fit.scores, first, task.truth, fold=task.fold, metric=METRICS[task.metric]
    )
    pooled = pool(cross_fit.scores, first, aggregation.pooling)

    started = time.perf_counter()
    scorer = member.fit_final(task, args)
    test, pooled_test = None, None
    if task.dataset.test:
        P = scorer.predict(task.compute("test", scorer.inputs, "windows"))
        first_test = task.first_windows("test")
        test, pooled_test = map(
            task.highest_of_recording, (aggregation(P, first_test), pool(P, first_test, aggregation.pooling))
        )
    seconds = {"oof": cross_fit.seconds, "test": time.perf_counter() - started}

    calibration = calibration_by_split(task.dataset, (pooled, pooled_test), (oof, test))
    write_run(
        task.results,
        task.dataset,
        NewRun(
            name=member.name,
            kind=MEMBER,
            oof=oof,
            test=test,
            fold=task.fold,
            holdout=task.holdout,
            seconds=seconds,
            seed=task.seed,
            config={**task.config(), **aggregation.config(), **cross_fit.config},
            metrics={**cross_fit.metrics, "calibration": calibration},
            parts=(scorer,),
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
