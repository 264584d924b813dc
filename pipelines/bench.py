"""Time Understory and reference implementations alternately on the same input; report the time ratios."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os

from features.common.files import real_path
from features.data.dataset import load_dataset
from features.data.synthetic import write_dataset
from pipelines.benchmarks.suite import BENCHMARKS, DEFAULT, N_CORES, BenchmarkSettings
from pipelines.core.cli import ROOT, HelpFormatter, run


def main(args: argparse.Namespace, settings: BenchmarkSettings = DEFAULT) -> None:
    folder = real_path(args.results)
    dataset = load_dataset(write_dataset(folder / "data", N_CORES, settings.recordings))
    for name in [args.what] if args.what else BENCHMARKS:
        load = os.getloadavg()
        print(f"{name}: {BENCHMARKS[name].__doc__}")
        BENCHMARKS[name](dataset, folder, settings).write(folder / f"{name}.json", load)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("what", nargs="?", choices=list(BENCHMARKS), help="benchmark (default: all)")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results" / "bench", metavar="DIR", help="results folder"
    )
    run(main, parser)
