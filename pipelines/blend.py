"""Blend the scores of members and of other models, with weights chosen by an out-of-fold metric."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.data.dataset import Dataset
from features.data.identity import data_identity
from models.metrics import METRICS, ap_per_species, evaluate
from models.scoring.blending import blend_or_best
from models.scoring.calibration import PlattCalibrator
from models.scoring.prevalence import with_prevalence
from pipelines.core.cli import add_metric_flag, dataset_parser, open_trained_dataset, run
from pipelines.core.evaluation import (
    calibration_by_split,
    lrap_difference,
    print_unverifiable,
    selection_metric,
)
from pipelines.core.external import add_scores_flag, external_run, read_external_scores, validate_names
from pipelines.core.failed_recordings import print_failed
from pipelines.core.history import update_history
from pipelines.core.leaderboard import WITH_PRIOR, print_leaderboard, update_leaderboard
from pipelines.core.member import registered_members
from pipelines.core.priors import PRIOR_HELP, PrevalenceRule, prevalence_rule, write_prevalence
from pipelines.core.run_config import BLEND, EXTERNAL, MEMBER
from pipelines.core.runs import (
    NewRun,
    Run,
    RunError,
    read_member,
    remedy_for,
    run_kinds,
    write_run,
    write_submission,
)
from pipelines.core.truth import training_truth
from pipelines.reporting import plots


def main(args: argparse.Namespace) -> None:
    dataset, results = open_trained_dataset(args)
    prior = prevalence_rule(args.prior, dataset.species)
    validate_names(args.scores, results)
    names = member_names(results, args.members, [name for name, _ in args.scores])
    given = dict(args.scores)
    data = data_identity(dataset)
    runs = {name: read_member(results, name, data) for name in names if name not in given}
    fold, holdout = common_folds(results, runs)
    metric = selection_metric(args.metric, dataset)
    # All files are read before a run is written, so an error in one leaves the results unchanged.
    recordings = [*dataset.train, *dataset.test]
    tables = {name: read_external_scores(file, recordings, dataset.species) for name, file in args.scores}
    for name, P in tables.items():
        run_of_scores = external_run(
            name, P, dataset, fold=fold, holdout=holdout, metric=metric, seed=args.seed
        )
        write_run(results, dataset, run_of_scores)
        runs[name] = read_member(results, name, data)
    runs = {name: runs[name] for name in names}
    truth = training_truth(dataset)
    oof_members = np.stack([member.oof.scores for member in runs.values()])

    started = time.perf_counter()
    oof, chosen, fold_blends = blend_or_best(oof_members, truth, fold, metric=METRICS[metric])
    seconds = {"oof": time.perf_counter() - started}
    listed = ", ".join(f"{weight:.2f} {name}" for name, weight in zip(names, chosen.weights, strict=True))
    print(f"blend: {listed}, in {chosen.space} space")
    left_out = [name for name, weight in zip(names, chosen.weights, strict=True) if weight == 0]
    if left_out:
        print(f"the blend does not use {', '.join(left_out)}, because it ranks as well or better without")
    splits = {"oof": Blended(truth[holdout], oof[holdout], oof_members[:, holdout])}
    test = None
    if dataset.test:
        test_members = np.stack([member.test.scores for member in runs.values() if member.test is not None])
        started = time.perf_counter()
        test = chosen.apply(test_members)
        seconds["test"] = time.perf_counter() - started
        if dataset.test_labels is not None:
            splits["test"] = Blended(dataset.test_labels.astype(float), test, test_members)

    differences = [
        {
            "split": split,
            "member": name,
            **lrap_difference(blended.truth, blended.blend, member, seed=args.seed),
        }
        for split, blended in splits.items()
        for name, member in zip(names, blended.members, strict=True)
    ]
    calibrator = PlattCalibrator(np.inf).fit(oof, truth)  # scores in rank space are not probabilities
    probabilities = calibrator.transform(oof), None if test is None else calibrator.transform(test)
    metrics: dict[str, Any] = {
        "differences": differences,
        "calibration": calibration_by_split(dataset, (oof, test), probabilities),
    }
    parts = []
    if prior is not None and probabilities[1] is not None:
        started = time.perf_counter()
        adjusted = AtPrevalence.of(dataset, probabilities[1], prior=float(truth.mean()), rule=prior)
        seconds[WITH_PRIOR] = time.perf_counter() - started
        parts.append(adjusted)
        if dataset.test_labels is not None:
            evaluation = evaluate(dataset.test_labels.astype(float), adjusted.scores, args.seed)
            metrics[WITH_PRIOR] = {"test": asdict(evaluation)}
    config = {
        "members": {
            name: {"weight": weight, "id": member.manifest.id}
            for (name, member), weight in zip(runs.items(), chosen.weights, strict=True)
        },
        "calibration": calibrator.coef_.tolist(),
        "prior_from": args.prior,
        "metric": metric,
        "space": chosen.space,
        "fold_blends": [asdict(blend) for blend in fold_blends],
    }
    new = NewRun(
        name="blend",
        kind=BLEND,
        oof=oof,
        test=test,
        fold=fold,
        holdout=holdout,
        seconds=seconds,
        seed=args.seed,
        config=config,
        metrics=metrics,
        parts=parts,
    )
    write_run(results, dataset, new)
    leaderboard = update_leaderboard(results, data)
    update_history(results, dataset)

    figures = results / "figures"
    colours = plots.colours(leaderboard["model"])
    plots.plot_leaderboard(leaderboard, colours, figures / "leaderboard.png")
    split = "test" if "test" in splits else "oof"
    ap = ap_table(dataset, names, splits[split])
    plots.plot_species(ap, split, colour=colours, file=figures / "species.png")
    plots.plot_weights(chosen, fold_blends, names, colour=colours, file=figures / "weights.png")
    print_leaderboard(leaderboard, results)
    print_unverifiable(dataset)
    for row in differences:
        print(
            f"{row['split']}: blend - {row['member']} LRAP {row['difference']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f})"
        )
    print(f"\nfigures in {figures}")
    print_failed(results)


@dataclass(frozen=True)
class Blended:
    """The truth of one split, and the scores of the blend and of its members.

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
    """Probabilities of the test recordings, corrected for a prevalence that differs from training.

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
    def of(cls, dataset: Dataset, P: np.ndarray, *, prior: float, rule: PrevalenceRule) -> "AtPrevalence":
        """Return the probabilities P, which assume the prevalence `prior`, corrected for that of `rule`."""
        prevalence = rule(P, prior)
        return cls(dataset, with_prevalence(P, prior, prevalence), prevalence)

    def save(self, folder: Path) -> None:
        """Write `submission_prior.csv` and `prior.csv`."""
        file = folder / "submission_prior.csv"
        write_submission(file, self.dataset, self.scores, prior=self.prevalence)
        write_prevalence(folder / "prior.csv", self.dataset.species, self.prevalence)


def member_names(results: Path, wanted: Sequence[str] | None, given: Sequence[str]) -> list[str]:
    """Return the sorted names of the members to blend.

    Parameters
    ----------
    wanted : value of `--members`; None for all members with a run.
    given : names of the external members that `--scores` adds.

    Raises
    ------
    RunError
        There are fewer than two members, no member is trained, or `wanted` names a run that is not a member.
    """
    kinds = run_kinds(results)
    available = [name for name, kind in kinds.items() if kind in (MEMBER, EXTERNAL)]
    for name in wanted or ():
        if name not in {*available, *given, *registered_members()}:
            raise RunError(
                f"--members {name}: not a member; give some of {', '.join(available) or 'no members yet'}"
            )
    names = sorted({*(available if wanted is None else wanted), *given})
    trained = [name for name in names if kinds.get(name) == MEMBER]
    if len(names) < 2 or not trained:
        untrained = [name for name in registered_members() if name not in names]
        remedy = " or ".join(f"run 'python pipelines/{name}.py'" for name in untrained)
        raise RunError(
            f"{results}: a blend needs two members, of which at least one is trained here (found: "
            f"{', '.join(names) or 'none'}); {remedy} with the same --data and --results"
        )
    return names


def common_folds(results: Path, runs: Mapping[str, Run]) -> tuple[np.ndarray, np.ndarray]:
    """Return the fold and the holdout of all members, each (n_train,); RunError if they differ."""
    (first, reference), *others = runs.items()
    for name, other in others:
        for what in ("fold", "holdout"):
            if not np.array_equal(getattr(reference.oof, what), getattr(other.oof, what)):
                raise RunError(
                    f"{results}: {first}/oof.npz and {name}/oof.npz differ in {what}; "
                    f"{remedy_for(first, reference.kind)}, and {remedy_for(name, other.kind)}, with the same "
                    f"--folds, --seed and --holdout"
                )
    return np.asarray(reference.oof.fold), np.asarray(reference.oof.holdout)


def ap_table(dataset: Dataset, names: Sequence[str], blended: Blended) -> pd.DataFrame:
    """Return the average precision of each species, one column per member and one for the blend."""
    scores = dict(zip((*names, "blend"), (*blended.members, blended.blend), strict=True))
    ap = {name: ap_per_species(blended.truth, P) for name, P in scores.items()}
    return pd.DataFrame(ap, index=pd.Index(dataset.species))


if __name__ == "__main__":
    parser = dataset_parser(__doc__)
    add_metric_flag(parser)
    parser.add_argument(
        "--members",
        type=lambda text: text.split(","),
        metavar="NAME,NAME,...",
        help="members to blend (default: all trained members and all given scores)",
    )
    add_scores_flag(
        parser,
        "add the scores of another model: CSV file with recording_id and one column per species, and a row "
        "for every training and test recording",
    )
    parser.add_argument(
        "--prior",
        default="none",
        metavar="none|estimate|FILE",
        help=f"{PRIOR_HELP}; adds blend+prior to the leaderboard",
    )
    run(main, parser)
