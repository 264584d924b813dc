"""Simulate reviews: the test labels of a data set answer in the place of a reviewer."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import replacing
from features.data.dataset import load_dataset
from models.metrics import bootstrap_interval
from pipelines.benchmarks.simulated_review import (
    Reviewer,
    compare_rounds,
    interval_coverage,
    rank_by_example,
)
from pipelines.core.cli import ROOT, HelpFormatter, lock_folder, positive, run
from pipelines.core.detector import Detector
from pipelines.core.new_recordings import recordings_of
from pipelines.reviewing.population import read_population


def reviewer_of(args: argparse.Namespace) -> Reviewer:
    dataset = load_dataset(args.data)
    if dataset.test_labels is None:
        raise UserError(f"{args.data}: has no test_labels.csv, which answers in the simulation; add it")
    lock_folder(args.results, "--results")
    return Reviewer(dataset, Detector.load(args.reference))


def write(args: argparse.Namespace, rows: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    with replacing(args.results / f"{args.what}.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    return table


def rounds(args: argparse.Namespace) -> None:
    rows, lrap = [], {}
    found = compare_rounds(
        reviewer_of(args), args.results, n_seeds=args.seeds, n_rounds=args.rounds, n=args.n
    )
    for row in found:
        scores, ap = row.pop("lrap"), row.pop("ap")
        low, high = bootstrap_interval(scores, 0)
        lrap[row["seed"], row["strategy"], row["round"]] = scores
        means = {"lrap": np.nanmean(scores), "lrap_low": low, "lrap_high": high, "macro_ap": np.nanmean(ap)}
        rows.append(row | means)
        print(write(args, rows).iloc[[-1]].to_string(index=False, header=len(rows) == 1), flush=True)
    difference = np.concatenate(
        [lrap[s, "queue", args.rounds] - lrap[s, "random", args.rounds] for s in range(args.seeds)]
    )
    low, high = bootstrap_interval(difference, 0)
    print(f"LRAP after {args.rounds} rounds, queue - random: {np.nanmean(difference):+.3f}", end=" ")
    print(f"({low:+.3f} to {high:+.3f})")


def estimates(args: argparse.Namespace) -> None:
    reviewer = reviewer_of(args)
    detector = Detector.load(args.model)
    recordings, site_times = recordings_of([args.data / "test"], follow_links=False)
    population = read_population(detector, args.predicted, recordings, site_times)
    rows = [
        {"verdicts": n}
        | interval_coverage(reviewer, population, detector.thresholds.at(), n_seeds=args.seeds, n=n)
        for n in (24, 48, 96)
    ]
    print(write(args, rows).to_string(index=False, float_format=lambda x: f"{x:.3f}"))


def similar(args: argparse.Namespace) -> None:
    table = write(args, list(rank_by_example(reviewer_of(args), n_seeds=args.seeds)))
    means = table.drop(columns=["seed", "species"]).mean()
    print(means.to_string(float_format=lambda x: f"{x:.3f}"))
    for what in ("windows", "recordings"):
        ratio = means[f"{what}, similarity"] / means[f"{what}, level"]
        print(f"{what}, mean average precision of similarity / level: {ratio:.2f}")


COMMANDS = (
    ("rounds", rounds, 3, "compare windows of review.py queue with random ones, over rounds of review"),
    ("estimates", estimates, 20, "check the intervals of review.py estimate"),
    ("similar", similar, 3, "check the search by example"),
)
"""Name, function, default number of repetitions, and help of each command."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, command, n_seeds, words in COMMANDS:
        own = commands.add_parser(name, help=words, formatter_class=HelpFormatter)
        own.set_defaults(main=command)
        own.add_argument("--data", type=Path, required=True, help="data set with test_labels.csv")
        own.add_argument(
            "--reference",
            type=Path,
            required=True,
            metavar="RUN",
            help="run of another model than gbm; it says where in a recording a species calls",
        )
        own.add_argument(
            "--results",
            type=Path,
            default=ROOT / "results" / "simulated",
            metavar="DIR",
            help="results folder",
        )
        own.add_argument("--seeds", type=positive, default=n_seeds, help="number of repetitions")
        if name == "rounds":
            own.add_argument("--rounds", type=positive, default=5, help="number of rounds")
            own.add_argument("--n", type=positive, default=48, help="verdicts per round")
        if name == "estimates":
            own.add_argument("--model", type=Path, required=True, metavar="RUN", help="run to estimate for")
            own.add_argument(
                "--predicted",
                type=Path,
                required=True,
                metavar="DIR",
                help="output of predict.py for the test recordings",
            )
    run(lambda args: args.main(args), parser)
