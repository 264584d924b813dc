"""Train members with fewer boxes, with and without self-training and pre-training, and compare their scores.

Each share of the boxes is a random draw from the TP boxes and from the FP boxes of each species.
train_labels.csv is not used in training. Out-of-fold scores are compared with the truth of all boxes, or of
train_labels.csv. After an interruption, the same command continues.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import Any

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import replacing
from models.estimators.pretraining import read_encoder
from models.metrics import bootstrap_interval, lrap_per_recording
from pipelines.benchmarks.label_shares import (
    BOXES_ONLY,
    SELF_TRAINING,
    CurveSettings,
    Scored,
    scores_of_shares,
)
from pipelines.core.cli import natural, positive, run, training_parser
from pipelines.core.member import member_class
from pipelines.core.task import Task, load_task
from pipelines.core.train import default_arguments
from pipelines.members import MEMBERS
from pipelines.members.networks import NetworkMember

SHARES = (1.0, 0.5, 0.25, 0.1)


def main(args: argparse.Namespace) -> None:
    validate_encoders(args)
    task = load_task(args)
    for file in args.pretrained:  # before the first training, which takes long
        member = member_class(args.members[0])()
        assert isinstance(member, NetworkMember)
        read_encoder(file, member.network(default_arguments(member, task)), task.store.settings.n_mels)
    lrap: dict[tuple[Any, ...], dict[str, list[np.ndarray]]] = {}
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    settings = CurveSettings(
        range(args.seed, args.seed + args.seeds),
        args.self_train,
        {file.stem: file for file in args.pretrained},
    )
    for one in scores_of_shares(task, args.members, args.shares, settings):
        key = (one.member, one.share, one.variant)
        for split, truth, P in splits(one, task):
            lrap.setdefault(key, {}).setdefault(split, []).append(lrap_per_recording(truth, P))
        rows[key] = row(key, lrap, seed=task.seed)
        table = [found for (member, *_), found in rows.items() if member == one.member]
        with replacing(table_file(task, one.member)) as temporary:
            pd.DataFrame(table).to_csv(temporary, index=False, float_format="%.4f")
        print(
            ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[key].items()),
            flush=True,
        )
    print()
    for name in args.members:
        print(table_file(task, name))


def table_file(task: Task, member: str) -> Path:
    """Return the file for the table of a member."""
    return task.results / f"learning_curve_{member}.csv"


def validate_encoders(args: argparse.Namespace) -> None:
    """Raise UserError if an encoder is missing or for no model or several, or two have the same name."""
    names = [BOXES_ONLY, SELF_TRAINING, *(file.stem for file in args.pretrained)]
    if args.pretrained and len(args.members) > 1:
        raise UserError("--pretrained: an encoder is for one model; run the command for each model")
    if len(set(names)) < len(names):
        raise UserError(f"--pretrained: two variants have the same name ({', '.join(names)}); rename files")
    if args.pretrained and not issubclass(member_class(args.members[0]), NetworkMember):
        raise UserError(f"--pretrained: {args.members[0]} does not start from an encoder; leave it out")
    for file in args.pretrained:
        if not file.is_file():
            raise UserError(f"--pretrained {file}: does not exist; write it with pretrain.py")


def share(text: str) -> float:
    """Return the value of a flag as a number, which must be above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:  # also true for nan
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def splits(one: Scored, task: Task) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return the name, the truth and the scores of each split with truth."""
    found = [("oof", task.truth[task.holdout], one.oof[task.holdout])]
    if one.test is not None and task.dataset.test_labels is not None:
        found.append(("test", task.dataset.test_labels.astype(float), one.test))
    return found


def row(
    key: tuple[Any, ...], lrap: dict[tuple[Any, ...], dict[str, list[np.ndarray]]], *, seed: int
) -> dict[str, Any]:
    """Return a row of the table: mean LRAP over seeds, and the paired difference to training with boxes only.

    Parameters
    ----------
    key : member, share of the boxes and variant.
    lrap : for each key and split, the LRAP of each recording with each seed.
    seed : random seed of the intervals.
    """
    member, share, variant = key
    found = {"model": member, "share": share, "variant": variant, "seeds": len(lrap[key]["oof"])}
    for split, values in lrap[key].items():
        found[f"{split}_lrap"] = float(np.nanmean(values))
        before = lrap[member, share, BOXES_ONLY][split][: len(values)]
        gain = (np.array(values) - np.array(before)).mean(axis=0)  # over seeds, for each recording
        found[f"{split}_gain"] = float(np.nanmean(gain))
        found[f"{split}_gain_low"], found[f"{split}_gain_high"] = bootstrap_interval(gain, seed)
    return found


if __name__ == "__main__":
    parser = training_parser(__doc__)
    models = [name for name in MEMBERS if hasattr(member_class(name), "refit")]
    parser.add_argument("members", nargs="+", choices=models, help="models to train")
    parser.add_argument(
        "--shares", type=share, nargs="+", default=SHARES, metavar="S", help="shares of the boxes"
    )
    parser.add_argument("--seeds", type=positive, default=3, help="number of repetitions")
    parser.add_argument(
        "--self-train", type=natural, default=1, metavar="ROUNDS", help="rounds of self-training; 0 for none"
    )
    parser.add_argument(
        "--pretrained", type=Path, nargs="*", default=[], metavar="FILE", help="encoders of pretrain.py"
    )
    run(main, parser, continues=True)
