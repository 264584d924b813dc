"""Write report.html: leaderboard, calibration, explanations, examples and errors on one page."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

import joblib

from pipelines.core.cli import dataset_parser, open_trained_dataset, run
from pipelines.reporting.page import write_page


def main(args: argparse.Namespace) -> None:
    dataset, results = open_trained_dataset(args)
    print(write_page(results, dataset, estimates=args.estimates, seed=args.seed, n_jobs=joblib.cpu_count()))


if __name__ == "__main__":
    parser = dataset_parser(__doc__)
    parser.add_argument(
        "--estimates",
        type=Path,
        metavar="DIR",
        help="also show these estimates: output of review.py estimate",
    )
    run(main, parser)
