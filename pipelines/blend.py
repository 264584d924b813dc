"""The blend of the GBM's and the GRU's scores that ranks best, cross-fitted."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from features.data.dataset import Dataset
from models.metrics import METRICS, ap_per_species, bootstrap_interval, evaluate, lrap_per_recording
from models.scoring.blending import blend_or_best, score_candidates
from models.scoring.calibration import PlattCalibrator
from models.scoring.prevalence import with_prevalence
from pipelines.core.cli import dataset_parser, open_dataset, run
from pipelines.core.failed_recordings import print_failed, read_failed
from pipelines.core.priors import PRIOR_HELP, prevalence_of, write_prevalence
from pipelines.core.runs import calibrations, common_folds, read_member, write_run, write_submission
from pipelines.core.task import presence
from pipelines.reporting import plots as report

MEMBERS = ("gbm", "gru")
PRIOR_FILES = ("submission_prior.csv", "prior.csv")


def main(args: argparse.Namespace) -> None:
    dataset, results = open_dataset(args)
    dataset = dataset.without(**read_failed(results))
    tell_prevalence = prevalence_of(args.prior, dataset.species)
    runs = {model: read_member(results, model, dataset) for model in MEMBERS}
    fold = common_folds(results, {model: oof for model, (oof, _) in runs.items()})
    oof_members = np.stack([oof.scores for oof, _ in runs.values()])
    truth, metric = np.nan_to_num(presence(dataset)), METRICS[args.metric]

    started = time.perf_counter()
    oof, chosen, fold_blends = blend_or_best(oof_members, truth, fold, metric)
    seconds = {"oof": time.perf_counter() - started, "test": 0.0}
    listed = ", ".join(f"{weight:.2f} {model}" for model, weight in zip(MEMBERS, chosen.weights, strict=True))
    print(f"blend: {listed}, in {chosen.space} space")
    if 1.0 in chosen.weights:
        print("blending does not help out of fold, so the better member stands alone")
    scored = {"oof": (truth, oof, oof_members)}
    test = None
    if dataset.test:
        test_members = np.stack([test.scores for _, test in runs.values() if test is not None])
        test = chosen.apply(test_members)
        if dataset.test_labels is not None:
            scored["test"] = (dataset.test_labels.astype(float), test, test_members)

    differences = [row for split in scored for row in compare(split, *scored[split], args.seed)]
    calibrator = PlattCalibrator(np.inf).fit(oof, truth)  # a blend of ranks is no probability yet
    config = {
        "members": MEMBERS,
        "calibration": calibrator.coef_.tolist(),
        "prior_from": args.prior,
        "metric": args.metric,
        **asdict(chosen),
        "fold_blends": [asdict(blend) for blend in fold_blends],
    }
    probabilities = calibrator.transform(oof), None if test is None else calibrator.transform(test)
    metrics = {
        "differences": differences,
        "calibration": calibrations(dataset, (oof, test), probabilities),
    }
    leaderboard = write_run(results, "blend", dataset, oof, test, fold, seconds, args.seed, config, metrics)
    for file in PRIOR_FILES:
        (results / "blend" / file).unlink(missing_ok=True)
    if tell_prevalence is not None and test is not None:
        P, prior = calibrator.transform(test), truth.mean()
        prevalence = tell_prevalence(P, prior)
        leaderboard = write_with_prior(results, dataset, P, prior, prevalence, args.seed, leaderboard)

    figures = results / "figures"
    report.plot_leaderboard(leaderboard, figures / "leaderboard.png")
    last = list(scored)[-1]
    report.plot_species(ap_table(dataset, *scored[last]), last, figures / "species.png")
    scores = score_candidates(oof_members, truth, metric)
    report.plot_weights(scores, chosen, fold_blends, MEMBERS, figures / "weights.png")
    report.print_leaderboard(leaderboard, results)
    for row in differences:
        print(
            f"{row['split']}: blend - {row['member']} LRAP {row['difference']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f})"
        )
    print(f"\nfigures in {figures}")
    print_failed(results)


def write_with_prior(
    results: Path,
    dataset: Dataset,
    P: np.ndarray,
    prior: float,
    prevalence: np.ndarray,
    seed: int,
    leaderboard: pd.DataFrame,
) -> pd.DataFrame:
    """Write the scores of the test recordings where species are as frequent as told; return the leaderboard.

    Parameters
    ----------
    P : (n_test, n_species) probabilities where each species has prevalence `prior`.
    prevalence : (n_species,).
    """
    started = time.perf_counter()
    adjusted = with_prevalence(P, prior, prevalence)
    seconds = time.perf_counter() - started
    submission, estimate = (results / "blend" / file for file in PRIOR_FILES)
    write_submission(submission, dataset, adjusted, prevalence)
    write_prevalence(estimate, dataset.species, prevalence)
    if dataset.test_labels is None:
        return leaderboard
    found = {"test": evaluate(dataset.test_labels.astype(float), adjusted, seed)}
    return report.update_leaderboard(results, "blend+prior", found, {"test": seconds})


def compare(
    split: str, Y: np.ndarray, blend: np.ndarray, members: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Return the paired difference in LRAP of the blend and each member, with its 95 % interval."""
    rows = []
    for model, member in zip(MEMBERS, members, strict=True):
        difference = lrap_per_recording(Y, blend) - lrap_per_recording(Y, member)
        low, high = bootstrap_interval(difference, seed)
        mean = float(np.nanmean(difference))
        rows.append({"split": split, "member": model, "difference": mean, "low": low, "high": high})
    return rows


def ap_table(dataset: Dataset, Y: np.ndarray, blend: np.ndarray, members: np.ndarray) -> pd.DataFrame:
    """Return the average precision of each species, a column per model."""
    scores = dict(zip((*MEMBERS, "blend"), (*members, blend), strict=True))
    ap = {model: ap_per_species(Y, P) for model, P in scores.items()}
    return pd.DataFrame(ap, index=pd.Index(dataset.species))


if __name__ == "__main__":
    parser = dataset_parser(__doc__)
    parser.add_argument(
        "--prior", default="none", metavar="none|estimate|FILE", help=f"{PRIOR_HELP}; adds a row"
    )
    run(main, parser)
