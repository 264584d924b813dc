"""Training with a share of the boxes of a data set."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from features.data.dataset import Dataset
from models.folds import make_folds
from pipelines.core.member import SelfTrainingMember, member_class
from pipelines.core.self_training import self_train
from pipelines.core.task import Task
from pipelines.core.train import Trained, default_arguments, finish

BOXES_ONLY, SELF_TRAINING = "boxes only", "self-training"


@dataclass(frozen=True)
class CurveSettings:
    """How often and in which variants members are trained.

    Attributes
    ----------
    seeds : seeds of the repetitions, each with other boxes and folds.
    n_rounds : rounds of self-training; 0 for none.
    pretrained : files of encoders to start networks from, by the name of the variant.
    """

    seeds: Sequence[int]
    n_rounds: int
    pretrained: Mapping[str, Path]


@dataclass(frozen=True)
class Scored:
    """Scores of a member that was trained with a share of the boxes.

    Attributes
    ----------
    member : name of the member.
    share : share of the boxes.
    variant : how it was trained: `BOXES_ONLY`, `SELF_TRAINING`, or the name of a file with an encoder.
    oof, test : (n_recordings, n_species) scores; `test` is None without test recordings.
    """

    member: str
    share: float
    variant: str
    oof: np.ndarray
    test: np.ndarray | None


def with_share(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return a data set with a random share of the boxes, at least one TP box per species.

    It has no train_labels.csv, whose labels would be known without any box.
    """
    rng = np.random.default_rng(seed)
    tp, fp = (_drawn(boxes, share, rng) for boxes in (dataset.tp, dataset.fp))
    return replace(dataset, tp=tp, fp=fp, train_labels=None)


def _drawn(boxes: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return a share of the boxes of each species, at least one, in the order of the table."""
    rows = [
        rng.permutation(own)[: max(round(share * len(own)), 1)]
        for own in boxes.groupby("species_id").indices.values()
    ]
    return boxes.iloc[np.sort(np.concatenate([np.zeros(0, int), *rows]))]


def scores_of_shares(
    task: Task, members: Sequence[str], shares: Sequence[float], settings: CurveSettings
) -> Iterator[Scored]:
    """Yield scores of members trained with shares of the boxes, in each variant.

    Parameters
    ----------
    task : task of the whole data set.
    members : names of the members.
    shares : shares of the boxes.
    """
    for name in members:
        for share in shares:
            for seed in settings.seeds:
                own = replace(
                    task,
                    dataset=with_share(task.dataset, share, seed),
                    results=task.results / "learning_curve",
                    fold=make_folds(task.truth, task.dataset.groups, task.n_folds, seed=seed),
                    seed=seed,
                )
                for variant, trained in _variants(name, own, settings):
                    yield Scored(name, share, variant, trained.oof, trained.test)


def _variants(name: str, task: Task, settings: CurveSettings) -> Iterator[tuple[str, Trained]]:
    """Yield the name and the result of each way to train a member."""
    member = member_class(name)()
    assert isinstance(member, SelfTrainingMember)
    args = default_arguments(member, task)
    if hasattr(args, "trials"):
        args.trials = 0
    args.self_train = settings.n_rounds
    shutil.rmtree(task.results, ignore_errors=True)
    with threadpool_limits(1, user_api="blas"):
        cross_fit = member.cross_fit(task, args)
        yield BOXES_ONLY, finish(member, task, args, cross_fit)
        if settings.n_rounds:
            yield SELF_TRAINING, finish(member, task, args, self_train(member, task, args, cross_fit))
        for variant, file in settings.pretrained.items():
            args.pretrained = file
            yield variant, finish(member, task, args, member.cross_fit(task, args))
