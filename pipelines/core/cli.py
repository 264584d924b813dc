"""Command line of all commands: flags, error messages, exit status, and the lock of a results folder."""

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NoReturn, TextIO

import joblib
from filelock import BaseFileLock, FileLock, Timeout

from features.common.errors import UserError
from features.common.files import real_path, validate_inside_folder, validate_name
from features.data.audio import file_of
from features.data.clips import in_clips
from features.data.dataset import Dataset, load_dataset
from features.data.synthetic import write_dataset
from features.frames.windows import WindowSettings
from models.metrics import METRICS
from models.scoring.thresholds import MAX_LEVEL, MIN_LEVEL
from pipelines.core.cluster import connected, validate_shared_file, validate_shared_folder
from pipelines.core.failed_recordings import read_failed

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_FOLDS = 5
CLOSED_OUTPUT = 141  # exit status: 128 and the number of the signal SIGPIPE


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help formatter that shows the default of a flag if it has one and the help text does not state it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []) or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def run(
    main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, *, continues: bool = False
) -> None:
    """Parse the flags and run a command.

    A `UserError` is printed as one line, with exit status 2, and so are errors of the system: a full disk,
    too little memory, a killed process. Ctrl-C ends the command at once, with exit status 130. If another
    program has closed the output, as in `| head -1`, the exit status is 141, as that of other commands.

    Parameters
    ----------
    continues : whether the command continues its earlier work if it is run again after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without UTF-8 cannot show all names
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _status(main, parser, continues)
        _flush_output()
    except BrokenPipeError:
        _discard_output()
        status = CLOSED_OUTPUT
    except OSError as error:
        _discard_output()
        _print_error(f"error: the output cannot be written: {error.strerror or error}; check disk space")
        status = 2
    if status:
        sys.exit(status)


def _status(
    main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, continues: bool
) -> int:
    """Run a command and return its exit status; OSError if its output cannot be written."""
    try:
        args = parser.parse_args()
    except SystemExit as end:  # after --help or an invalid flag
        return int(end.code or 0)
    message = "interrupted; run the same command again to continue" if continues else "interrupted"
    signal.signal(signal.SIGINT, lambda *_: _exit(message, 130))
    warnings.showwarning = _print_warning
    # When a command stops at an error, joblib warns about unfinished tasks. The error message is enough.
    warnings.filterwarnings("ignore", r"\d+ tasks (have been successfully|which were)", UserWarning)
    try:
        with _workers(getattr(args, "scheduler", None)):
            main(args)
    except UserError as error:
        message = str(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or error
        message = f"{error.filename or 'a file'}: {reason}; check disk space and permissions"
    except BrokenExecutor:
        message = "a process was killed, probably because memory ran out; give --jobs 1, or close programs"
    except MemoryError:
        message = "memory ran out; give --jobs 1, or close programs"
    else:
        return 0
    _print_error(f"error: {message}")
    return 2


def _workers(scheduler: str | None) -> AbstractContextManager[None]:
    """Return a context in which the workers of a cluster compute; without `scheduler`, this process does."""
    if scheduler is None:
        return nullcontext()
    return connected(scheduler, on_loss=lambda message: _exit(f"error: {message}", 2))


def _flush_output() -> None:
    """Write what is left of the output. Python would do this later, when errors give a traceback."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_output() -> None:
    """Make Python not try again to write the output when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(message: str, status: int) -> NoReturn:
    """Exit without waiting for threads. This is safe because files on disk are complete at any moment."""
    _print_error(message)
    with suppress(OSError, ValueError):
        _flush_output()
    os._exit(status)


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line, without the code that raised it."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _print_error(message: str) -> None:
    if sys.stderr is None:  # it is closed
        return
    with suppress(OSError, ValueError):
        below_progress_bar = "\n" if sys.stderr.isatty() else ""
        print(f"{below_progress_bar}{message}", file=sys.stderr, flush=True)


def dataset_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that all commands on a data set share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set (default: the embedded one)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="results folder (default: results/<name of the data set>)"
    )
    parser.add_argument("--seed", type=natural, default=0, help="random seed")
    add_follow_links_flag(parser)
    return parser


def add_follow_links_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--follow-links` to a parser."""
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="also read recordings behind symbolic links that lead out of the folder",
    )


def add_scheduler_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--scheduler` to a parser."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="address of a Dask scheduler, such as tcp://node1:8786, whose workers then compute (default: "
        "this machine computes)",
    )


def add_metric_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--metric` to a parser."""
    parser.add_argument(
        "--metric", choices=METRICS, default="lrap", help="metric used to select parameters and weights"
    )


def training_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that all training commands share."""
    window = WindowSettings()
    parser = dataset_parser(description)
    add_metric_flag(parser)
    parser.add_argument(
        "--folds",
        type=natural,
        help=f"number of cross-validation folds (default: {DEFAULT_FOLDS}, or the number of groups if there "
        f"are fewer)",
    )
    parser.add_argument(
        "--holdout",
        type=Path,
        metavar="TABLE",
        help="CSV file with a column recording_id: the out-of-fold metrics are those of these training "
        "recordings, so that they can be compared when recordings are added (default: all)",
    )
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="number of cores to use")
    parser.add_argument("--window", type=float, default=window.length, metavar="S", help="window length, s")
    parser.add_argument("--hop", type=float, default=window.hop, metavar="S", help="window hop, s")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first recording that cannot be read"
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


def level(text: str) -> float:
    """Return the value of a flag as a number, which must be from `MIN_LEVEL` to `MAX_LEVEL`."""
    value = float(text)
    if not MIN_LEVEL <= value <= MAX_LEVEL:  # also true for nan
        raise argparse.ArgumentTypeError(f"{text} is not between {MIN_LEVEL} and {MAX_LEVEL}")
    return value


def open_dataset(args: argparse.Namespace) -> tuple[Dataset, Path]:
    """Return the data set and the results folder given by the flags; the folder is locked for this process.

    The embedded data set is written first if it does not exist. A single long training recording is divided
    into clips.
    """
    results = results_folder(args)
    if args.data is not None:
        dataset = in_clips(load_dataset(args.data, follow_links=args.follow_links))
        lock_tree(results, "--results")
        validate_shared_file(file_of(next(iter(dataset.train.values()))))
        return dataset, results
    lock_tree(results, "--results")
    write_dataset(results / "data", n_jobs=joblib.cpu_count())
    return load_dataset(results / "data", name="synthetic"), results


def open_trained_dataset(args: argparse.Namespace) -> tuple[Dataset, Path]:
    """Return what `open_dataset` returns, without the recordings that training could not decode."""
    dataset, results = open_dataset(args)
    return dataset.without(**read_failed(results)), results


def results_folder(args: argparse.Namespace) -> Path:
    """Return the absolute path of the results folder given by the flags."""
    # In a clone of the repository, results are in the clone, whatever the working directory is.
    root = ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()
    name = "synthetic" if args.data is None else real_path(args.data).name
    return real_path(args.results or root / "results" / name)


def lock_folder(folder: Path, flag: str) -> None:
    """Lock a folder until this process ends; create it if it does not exist.

    Parameters
    ----------
    folder : results or output folder.
    flag : the flag that sets the folder, for error messages.

    Raises
    ------
    UserError
        Another command has locked the folder, its name cannot be written to a table, or it cannot be written.
    """
    validate_name(folder, remedy=f"give another folder with {flag}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", blocking=False, is_singleton=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{folder}: another command is writing to this folder; wait, or give another {flag}"
        ) from error
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); give another folder with {flag}"
        ) from error
    _held_locks.append(lock)


def lock_tree(folder: Path, flag: str) -> None:
    """Lock a folder, as `lock_folder` does.

    Raises
    ------
    UserError
        As `lock_folder`; or a symbolic link in the folder leads out of it; or a worker of a cluster does
        not see the folder.
    """
    lock_folder(folder, flag)
    for path in folder.rglob("*"):
        if path.is_symlink():
            validate_inside_folder(path, folder)
    validate_shared_folder(folder, flag)


_held_locks: list[BaseFileLock] = []  # a lock without a reference is released
