"""Command line of all commands: flags, error messages, exit status, and the lock of a results folder."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import joblib
from filelock import BaseFileLock, FileLock, Timeout

from features.common.errors import UserError
from features.common.files import validate_inside_folder
from features.data.dataset import Dataset, load_dataset
from features.data.synthetic import write_dataset
from features.frames.windows import WindowSettings
from models.metrics import METRICS
from pipelines.core.failed_recordings import read_failed

ROOT = Path(__file__).resolve().parents[2]


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the flags and run a command.

    A `UserError` is printed as one line, with exit status 2. Ctrl-C ends the command at once, with exit
    status 130.
    """
    args = parser.parse_args()
    signal.signal(signal.SIGINT, _interrupted)
    # joblib warns when a command stops at its first error; the error message says more.
    warnings.filterwarnings("ignore", r"\d+ tasks (have been successfully|which were)", UserWarning)
    try:
        main(args)
    except UserError as error:
        message = str(error)
    except OSError as error:
        reason = error.strerror or error
        message = f"{error.filename or 'a file'}: {reason}; check disk space and permissions"
    else:
        return
    _print_error(f"error: {message}")
    sys.exit(2)


def _interrupted(*_: object) -> NoReturn:
    """Exit without waiting for threads: files on disk are complete at any moment."""
    _print_error("interrupted; run the same command again to continue")
    sys.stdout.flush()
    os._exit(130)


def _print_error(message: str) -> None:
    below_progress_bar = "\n" if sys.stderr.isatty() else ""
    print(f"{below_progress_bar}{message}", file=sys.stderr, flush=True)


def dataset_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that all commands on a data set share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set (default: the embedded one)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="results folder (default: results/<name of the data set>)"
    )
    parser.add_argument("--metric", choices=METRICS, default="lrap", help="metric used for all selections")
    parser.add_argument("--seed", type=natural, default=0, help="random seed")
    return parser


def training_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that all training commands share."""
    window = WindowSettings()
    parser = dataset_parser(description)
    parser.add_argument("--folds", type=natural, default=5, help="number of cross-validation folds")
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="number of cores to use")
    parser.add_argument("--window", type=float, default=window.length, metavar="S", help="window length, s")
    parser.add_argument("--hop", type=float, default=window.hop, metavar="S", help="window hop, s")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first recording that cannot be decoded"
    )
    return parser


def natural(text: str) -> int:
    """Return a flag's value as an integer from 0 to 2**31 - 1."""
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and {2**31 - 1}")
    return value


def positive(text: str) -> int:
    """Return a flag's value as an integer from 1 to 2**31 - 1."""
    value = natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def open_dataset(args: argparse.Namespace) -> tuple[Dataset, Path]:
    """Return the data set that the flags name and its results folder, which is locked for this process.

    The embedded data set is written first if it does not exist.
    """
    results = results_folder(args)
    if args.data is not None:
        dataset = load_dataset(args.data)
        _lock(results)
        return dataset, results
    _lock(results)
    write_dataset(results / "data", n_jobs=joblib.cpu_count())
    return load_dataset(results / "data", name="synthetic"), results


def open_trained_dataset(args: argparse.Namespace) -> tuple[Dataset, Path]:
    """Return what `open_dataset` returns, without the recordings that training could not decode."""
    dataset, results = open_dataset(args)
    return dataset.without(**read_failed(results)), results


def results_folder(args: argparse.Namespace) -> Path:
    """Return the absolute path of the results folder that the flags name."""
    # In a clone, results lie in the clone, whatever the working directory is.
    root = ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()
    name = "synthetic" if args.data is None else args.data.resolve().name
    return (args.results or root / "results" / name).resolve()


def _lock(results: Path) -> None:
    """Lock a results folder until this process ends."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock = FileLock(results / ".lock", blocking=False, is_singleton=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{results}: another command is writing there; wait for it, or give another --results"
        ) from error
    except OSError as error:
        raise UserError(
            f"{results}: cannot be written ({error.strerror}); give another folder with --results"
        ) from error
    _held_locks.append(lock)
    for path in results.rglob("*"):
        if path.is_symlink():
            validate_inside_folder(path, results)


_held_locks: list[BaseFileLock] = []  # a lock without a reference is released
