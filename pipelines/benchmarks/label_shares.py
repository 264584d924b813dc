"""Training with a share of the boxes of a data set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from features.common.errors import UserError
from features.common.files import digest, read_arrays, replacing, sha256, write_arrays
from features.data.dataset import Dataset
from features.data.identity import data_identity
from features.data.tables import DatasetError
from models.folds import make_folds
from pipelines.core.cluster import software
from pipelines.core.member import CrossFit, SelfTrainingMember, member_class
from pipelines.core.self_training import self_train
from pipelines.core.task import Task, validate_boxes_in_two_folds
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

    The scores are stored in the results folder. After an interruption, the same call continues, as long as
    the data, the settings, this software and its libraries are the same.

    Parameters
    ----------
    task : task of the whole data set.
    members : names of the members.
    shares : shares of the boxes.

    Raises
    ------
    UserError
        A share of the boxes is too small for cross-validation, or stored scores cannot be read.
    """
    state = digest(task.config(), data_identity(task.dataset), software())
    drawn = {(share, seed): _with_share(task, share, seed) for share in shares for seed in settings.seeds}
    for name in members:
        for (share, seed), own in drawn.items():
            for variant, identity, train in _variants(name, own, settings):
                file = own.results / f"{digest(state, name, share, seed, identity)}.npz"
                if not file.exists():
                    trained = train()
                    arrays = {"oof": trained.oof, "test": trained.test}
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with replacing(file) as temporary:
                        write_arrays(temporary, [(k, P) for k, P in arrays.items() if P is not None])
                stored = _stored(file)
                yield Scored(name, share, variant, stored["oof"], stored.get("test"))


def _with_share(task: Task, share: float, seed: int) -> Task:
    """Return a task with a share of the boxes; UserError if one fold has all TP boxes."""
    own = replace(
        task,
        dataset=with_share(task.dataset, share, seed),
        results=task.results / "learning_curve",
        fold=make_folds(task.truth, task.dataset.groups, task.n_folds, seed=seed),
        seed=seed,
    )
    try:
        validate_boxes_in_two_folds(own.dataset, own.fold)
    except DatasetError as error:
        raise UserError(f"{share:g} of the boxes, seed {seed}: {error}, or give a larger share") from error
    return own


def _stored(file: Path) -> dict[str, np.ndarray]:
    """Return the scores in a file."""
    try:
        return read_arrays(file)
    except ValueError as error:
        raise UserError(f"{file}: {error}; remove it, and run the command again") from error


def _variants(
    name: str, task: Task, settings: CurveSettings
) -> Iterator[tuple[str, str, Callable[[], Trained]]]:
    """Yield the name of each way to train a member, its settings as text, and a function that does it."""
    member = member_class(name)()
    assert isinstance(member, SelfTrainingMember)
    args = default_arguments(member, task)
    if hasattr(args, "trials"):
        args.trials = 0
    args.self_train = settings.n_rounds

    @cache
    def from_boxes() -> CrossFit:
        return member.cross_fit(task, args)

    def from_scores() -> CrossFit:
        return self_train(member, task, args, from_boxes())

    def from_encoder(file: Path) -> CrossFit:
        args.pretrained = file
        return member.cross_fit(task, args)

    def trained(cross_fit: Callable[[], CrossFit]) -> Trained:
        with threadpool_limits(1, user_api="blas"):
            return finish(member, task, args, cross_fit())

    yield BOXES_ONLY, "", partial(trained, from_boxes)
    if settings.n_rounds:
        yield SELF_TRAINING, f"rounds {settings.n_rounds}", partial(trained, from_scores)
    for variant, file in settings.pretrained.items():
        yield variant, f"encoder {sha256(file)}", partial(trained, partial(from_encoder, file))
