"""`report.html`: what the models reached, why, and where they err, on one page that needs no network."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

import joblib

from pipelines.core.cli import dataset_parser, open_dataset, run
from pipelines.core.failed_recordings import read_failed
from pipelines.reporting.page import write_page


def main(args: argparse.Namespace) -> None:
    dataset, results = open_dataset(args)
    print(write_page(results, dataset.without(**read_failed(results)), args.seed, joblib.cpu_count()))


if __name__ == "__main__":
    run(main, dataset_parser(__doc__))
