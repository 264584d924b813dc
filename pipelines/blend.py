"""Blend the scores of members, and of other models, with the weights that rank best out of fold."""

import sys
from pathlib import Path

if __name__ == "__main__":  # imports start at the repository, so that no module here hides a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.data.dataset import Dataset
from models.folds import make_folds
from models.metrics import METRICS, ap_per_species, evaluate
from models.scoring.blending import blend_or_best
from models.scoring.calibration import PlattCalibrator
from models.scoring.prevalence import with_prevalence
from pipelines.core.cli import dataset_parser, open_trained_dataset, run
from pipelines.core.evaluation import calibration_by_split, lrap_difference
from pipelines.core.external import name_and_file, write_external_run
from pipelines.core.failed_recordings import print_failed
from pipelines.core.leaderboard import WITH_PRIOR, print_leaderboard, update_leaderboard
from pipelines.core.member import registered_members
from pipelines.core.priors import PRIOR_HELP, PrevalenceRule, prevalence_rule, write_prevalence
from pipelines.core.runs import (
    BLEND,
    EXTERNAL,
    MEMBER,
    NewRun,
    Run,
    RunError,
    read_config,
    read_member,
    run_names,
    scores_digest,
    write_run,
    write_submission,
)
from pipelines.core.task import training_truth
from pipelines.reporting import plots

N_FOLDS = 5  # where only external scores are blended; trained members bring their folds


def main(args: argparse.Namespace) -> None:
    dataset, results = open_trained_dataset(args)
    prior = prevalence_rule(args.prior, dataset.species)
    names = member_names(results, args.members, [name for name, _ in args.scores])
    given = dict(args.scores)
    runs = {name: read_member(results, name, dataset) for name in names if name not in given}
    fold = common_folds(results, dataset, runs, args.seed)
    for scores in args.scores:
        write_external_run(results, dataset, scores, fold=fold, metric=args.metric, seed=args.seed)
        runs[scores[0]] = read_member(results, scores[0], dataset)
    runs = {name: runs[name] for name in names}
    truth = training_truth(dataset)
    oof_members = np.stack([member.oof.scores for member in runs.values()])

    started = time.perf_counter()
    oof, chosen, fold_blends = blend_or_best(oof_members, truth, fold, metric=METRICS[args.metric])
    seconds = {"oof": time.perf_counter() - started}
    listed = ", ".join(f"{weight:.2f} {name}" for name, weight in zip(names, chosen.weights, strict=True))
    print(f"blend: {listed}, in {chosen.space} space")
    if 1.0 in chosen.weights:
        print("no blend ranks better than this member alone")
    splits = {"oof": Blended(truth, oof, oof_members)}
    test = None
    if dataset.test:
        test_members = np.stack([member.test.scores for member in runs.values() if member.test is not None])
        started = time.perf_counter()
        test = chosen.apply(test_members)
        seconds["test"] = time.perf_counter() - started
        if dataset.test_labels is not None:
            splits["test"] = Blended(dataset.test_labels.astype(float), test, test_members)

    differences = [
        {"split": split, "member": name, **lrap_difference(blended.truth, blended.blend, member, args.seed)}
        for split, blended in splits.items()
        for name, member in zip(names, blended.members, strict=True)
    ]
    calibrator = PlattCalibrator(np.inf).fit(oof, truth)  # a blend in rank space is not a probability
    probabilities = calibrator.transform(oof), None if test is None else calibrator.transform(test)
    metrics: dict[str, Any] = {
        "differences": differences,
        "calibration": calibration_by_split(dataset, (oof, test), probabilities),
    }
    parts = []
    if prior is not None and probabilities[1] is not None:
        started = time.perf_counter()
        adjusted = AtPrevalence.of(dataset, probabilities[1], float(truth.mean()), prior)
        seconds[WITH_PRIOR] = time.perf_counter() - started
        parts.append(adjusted)
        if dataset.test_labels is not None:
            evaluation = evaluate(dataset.test_labels.astype(float), adjusted.scores, args.seed)
            metrics[WITH_PRIOR] = {"test": asdict(evaluation)}
    config = {
        "members": {name: scores_digest(results, name) for name in names},
        "calibration": calibrator.coef_.tolist(),
        "prior_from": args.prior,
        "metric": args.metric,
        **asdict(chosen),
        "fold_blends": [asdict(blend) for blend in fold_blends],
    }
    new = NewRun(
        name="blend",
        kind=BLEND,
        oof=oof,
        test=test,
        fold=fold,
        seconds=seconds,
        seed=args.seed,
        config=config,
        metrics=metrics,
        parts=parts,
    )
    write_run(results, dataset, new)
    leaderboard = update_leaderboard(results)

    figures = results / "figures"
    colours = plots.colours(leaderboard["model"])
    plots.plot_leaderboard(leaderboard, colours, figures / "leaderboard.png")
    split = "test" if "test" in splits else "oof"
    plots.plot_species(ap_table(dataset, names, splits[split]), split, colours, figures / "species.png")
    plots.plot_weights(chosen, fold_blends, names, colour=colours, file=figures / "weights.png")
    print_leaderboard(leaderboard, results)
    for row in differences:
        print(
            f"{row['split']}: blend - {row['member']} LRAP {row['difference']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f})"
        )
    print(f"\nfigures in {figures}")
    print_failed(results)


@dataclass(frozen=True)
class Blended:
    """Truth, scores of the blend and of its members, for one split.

    Attributes
    ----------
    truth, blend : (n_recordings, n_species).
    members : (n_members, n_recordings, n_species).
    """

    truth: np.ndarray
    blend: np.ndarray
    members: np.ndarray


@dataclass(frozen=True)
class AtPrevalence:
    """Probabilities of the test recordings at another prevalence than that of training.

    Attributes
    ----------
    dataset : the data set.
    scores : (n_test, n_species) probabilities.
    prevalence : (n_species,).
    """

    dataset: Dataset
    scores: np.ndarray
    prevalence: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset, P: np.ndarray, prior: float, rule: PrevalenceRule) -> "AtPrevalence":
        """Return probabilities P, which assume the prevalence `prior`, at the prevalence of a rule."""
        prevalence = rule(P, prior)
        return cls(dataset, with_prevalence(P, prior, prevalence), prevalence)

    def save(self, folder: Path) -> None:
        """Write `submission_prior.csv` and `prior.csv`."""
        write_submission(folder / "submission_prior.csv", self.dataset, self.scores, self.prevalence)
        write_prevalence(folder / "prior.csv", self.dataset.species, self.prevalence)


def member_names(results: Path, wanted: Sequence[str] | None, given: Sequence[str]) -> list[str]:
    """Return the sorted names of the members to blend.

    Parameters
    ----------
    wanted : value of `--members`; None for all members with a run.
    given : names of the external scores that this call adds.

    Raises
    ------
    RunError
        There are fewer than two members, or one is named that cannot be blended.
    """
    repeated = {name for name in given if given.count(name) > 1}
    if repeated:
        raise UserError(f"--scores {min(repeated)}=... is given twice; keep one")
    kinds = {name: read_config(results / name)["kind"] for name in run_names(results)}
    available = [name for name, kind in kinds.items() if kind in (MEMBER, EXTERNAL)]
    for name in wanted or ():
        if name not in {*available, *given, *registered_members()}:
            raise RunError(
                f"--members {name}: not a member; give some of {', '.join(available) or 'no members yet'}"
            )
    names = sorted({*(available if wanted is None else wanted), *given})
    if len(names) < 2:
        untrained = [name for name in registered_members() if name not in names]
        remedy = " or ".join(f"run 'python pipelines/{name}.py'" for name in untrained)
        raise RunError(
            f"{results}: a blend needs at least two members, found {', '.join(names) or 'none'}; {remedy} "
            f"with the same --data and --results"
        )
    return names


def common_folds(results: Path, dataset: Dataset, runs: Mapping[str, Run], seed: int) -> np.ndarray:
    """Return the (n_train,) folds that all members were scored with; RunError if they differ.

    Without a run, folds are drawn as in training.
    """
    if not runs:
        truth = training_truth(dataset)
        n_groups = len(np.unique(dataset.groups))
        return make_folds(truth, dataset.groups, min(N_FOLDS, n_groups), seed=seed)
    (first, reference), *others = runs.items()
    for name, other in others:
        if not np.array_equal(reference.oof.fold, other.oof.fold):  # type: ignore[arg-type]
            raise RunError(
                f"{results}: {first}/oof.npz and {name}/oof.npz have different folds; train both again with "
                f"the same --folds and --seed, or leave one out with --members"
            )
    assert reference.oof.fold is not None  # out-of-fold scores always have folds
    return reference.oof.fold


def ap_table(dataset: Dataset, names: Sequence[str], blended: Blended) -> pd.DataFrame:
    """Return the average precision of each species, one column per member and one for the blend."""
    scores = dict(zip((*names, "blend"), (*blended.members, blended.blend), strict=True))
    ap = {name: ap_per_species(blended.truth, P) for name, P in scores.items()}
    return pd.DataFrame(ap, index=pd.Index(dataset.species))


if __name__ == "__main__":
    parser = dataset_parser(__doc__)
    parser.add_argument(
        "--members",
        type=lambda text: text.split(","),
        metavar="NAME,NAME,...",
        help="members to blend (default: all that are trained or given)",
    )
    parser.add_argument(
        "--scores",
        type=name_and_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="add the scores of another model: CSV of recording_id and one column per species, for all "
        "training and test recordings; may be repeated",
    )
    parser.add_argument(
        "--prior", default="none", metavar="none|estimate|FILE", help=f"{PRIOR_HELP}; adds a row blend+prior"
    )
    run(main, parser)
