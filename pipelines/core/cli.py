"""How every command is called, ends, and has its results folder to itself."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import joblib
from filelock import BaseFileLock, FileLock, Timeout

from features.common.errors import UserError
from features.common.files import refuse_link_outside
from features.data.dataset import Dataset, load_dataset
from features.data.synthetic import write_dataset
from features.frames.windows import WindowSettings
from models.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Run a command; an error that the user can mend is one line and exit status 2.

    Ctrl-C ends it at once.
    """
    args = parser.parse_args()
    signal.signal(signal.SIGINT, _interrupted)
    try:
        main(args)
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'a file'}: {error.strerror or error}; see to space and rights"
    else:
        return
    _say(f"error: {message}")
    sys.exit(2)


def _interrupted(*_: object) -> NoReturn:
    """End at once.

    Threads would otherwise finish what they do. What is on disk is whole at any moment, and processes of this
    command end of themselves once it is gone.
    """
    _say("interrupted; the same command goes on from what is done")
    sys.stdout.flush()
    os._exit(130)


def _say(message: str) -> None:
    below_a_progress_bar = "\n" if sys.stderr.isatty() else ""
    print(f"{below_a_progress_bar}{message}", file=sys.stderr, flush=True)


def _claim(results: Path) -> None:
    """Keep other commands out of a results folder for as long as this process lives."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock = FileLock(results / ".lock", blocking=False, is_singleton=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{results}: another command writes there; wait for it, or give another --results"
        ) from error
    except OSError as error:
        raise UserError(
            f"{results}: cannot be written ({error.strerror}); give another folder with --results"
        ) from error
    _claimed.append(lock)
    for path in results.rglob("*"):
        if path.is_symlink():
            refuse_link_outside(path, results)


_claimed: list[BaseFileLock] = []  # a lock that nobody holds is let go


def dataset_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags of every command."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set; without it the embedded one")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="where results go; without it results/<name of DIR>"
    )
    parser.add_argument("--metric", choices=METRICS, default="lrap", help="score that selects")
    parser.add_argument("--seed", type=natural, default=0, help="seed of everything drawn")
    return parser


def training_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags of the commands that train."""
    window = WindowSettings()
    parser = dataset_parser(description)
    parser.add_argument("--folds", type=natural, default=5, help="folds of the out-of-fold scores")
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="cores to use")
    parser.add_argument("--window", type=float, default=window.length, metavar="S", help="window length, s")
    parser.add_argument("--hop", type=float, default=window.hop, metavar="S", help="window hop, s")
    parser.add_argument("--strict", action="store_true", help="stop at a recording that cannot be decoded")
    return parser


def natural(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{value} is not within 0 and {2**31 - 1}")
    return value


def positive(text: str) -> int:
    value = natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def open_dataset(args: argparse.Namespace) -> tuple[Dataset, Path]:
    """Return the data set that the flags name, and its results folder, which is then this process' own.

    The embedded data set is written first.
    """
    results = results_folder(args)
    if args.data is not None:
        dataset = load_dataset(args.data)
        _claim(results)
        return dataset, results
    _claim(results)
    write_dataset(results / "data", n_jobs=joblib.cpu_count())
    return load_dataset(results / "data", name="synthetic"), results


def results_folder(args: argparse.Namespace) -> Path:
    """Return the results folder that the flags name."""
    # The clone's, from wherever it is called; the working directory's, where there is no clone.
    root = ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()
    name = "synthetic" if args.data is None else args.data.resolve().name
    return (args.results or root / "results" / name).resolve()
