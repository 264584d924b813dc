"""Connection of a command to a Dask cluster, whose workers then compute the calls of `on_workers`.

Dask is imported only when a cluster is used.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import features
from features.common.errors import UserError
from features.common.files import digest, sha256, write_errors
from features.common.parallel import on_cluster, on_each_worker, use_cluster

if TYPE_CHECKING:
    from distributed import Client

ROOT = Path(features.__file__).resolve().parents[1]
PACKAGES = ("features", "models", "pipelines")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "soxr", "soundfile")
"""Libraries whose version can affect results."""
CONNECT = 10.0  # s until the scheduler must have answered and a worker be there
LOST = 60.0  # s without a worker or the scheduler after which a command stops
CHECK = 2.0  # s between two looks at the cluster


@contextmanager
def connected(address: str, on_loss: Callable[[str], None]) -> Iterator[None]:
    """Let the workers of a cluster compute the calls of `on_workers` in this block.

    Parameters
    ----------
    address : address of the Dask scheduler, such as "tcp://node1:8786".
    on_loss : called in another thread with a message if the cluster has had no worker, or no scheduler, for a
        minute. It must end the process, because Dask would wait for them for ever.

    Raises
    ------
    UserError
        Dask is not installed, no scheduler answers, there is no worker, or a worker has other versions of
        this software or of its libraries. In the block: a worker was killed again and again.
    """
    try:
        from distributed import Client
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise UserError(
            f"--scheduler needs Dask ({error}); install it with pip install 'understory[cluster]'"
        ) from error
    for name in ("distributed", "distributed.client"):  # the errors below say what is necessary
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # time-outs are OSErrors
        raise UserError(
            f"--scheduler {address}: no Dask scheduler answers; start one with 'dask scheduler', and give "
            f"the address that it prints"
        ) from error
    ended = threading.Event()
    try:
        with use_cluster(client):
            _validate_workers(client, address)
            threading.Thread(target=_watch, args=(client, address, ended, on_loss), daemon=True).start()
            yield
    except KilledWorker as error:
        raise UserError(
            f"--scheduler {address}: {error.allowed_failures + 1} workers were killed at the same task, "
            f"probably because memory ran out; give them more memory (dask worker --memory-limit) or one "
            f"thread (--nthreads 1), and run the same command again"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise UserError(
            f"--scheduler {address}: the connection was lost; run the same command again to continue"
        ) from error
    finally:
        ended.set()
        client.close()


def _validate_workers(client: "Client", address: str) -> None:
    """Raise UserError if there is no worker, or one with another version of something."""
    try:
        client.wait_for_workers(1, timeout=CONNECT)
    except OSError as error:
        raise UserError(
            f"--scheduler {address}: has no worker; start one with 'dask worker {address}'"
        ) from error
    own = software()
    for worker, answer in _answers(software):
        if isinstance(answer, ImportError):
            raise UserError(f"worker {worker}: {answer}; install this software there in the same version")
        if isinstance(answer, BaseException):
            raise UserError(f"worker {worker}: does not answer ({answer}); restart it")
        for name in own:
            if answer[name] != own[name]:
                raise UserError(
                    f"worker {worker}: has {name} {answer[name]}, but this machine has {own[name]}; results "
                    f"could differ, so install the same version on both"
                )


def validate_shared_folder(folder: Path, flag: str) -> None:
    """Raise UserError if there is a cluster, and a worker of it does not see what is written to a folder.

    Parameters
    ----------
    flag : the flag that sets the folder, for the error message.
    """
    if not on_cluster():
        return
    token = folder.absolute() / f".{secrets.token_hex(8)}"
    with write_errors(token):
        token.touch()
    try:
        _validate_seen_by_all(token, f"give a folder with {flag} that is shared with all workers")
    finally:
        token.unlink(missing_ok=True)


def validate_shared_file(file: Path) -> None:
    """Raise UserError if there is a cluster, and a worker of it does not see a file."""
    if on_cluster():
        _validate_seen_by_all(
            file.absolute(), "put the recordings into a folder that all workers have at the same path"
        )


def _validate_seen_by_all(file: Path, remedy: str) -> None:
    for worker, is_seen in _answers(file.exists):
        if is_seen is not True:
            raise UserError(f"worker {worker}: does not see {file.parent}; {remedy}")


def _answers(function: Callable[[], Any]) -> list[tuple[str, Any]]:
    """Return the address of each worker, and what a function returns there, or its exception.

    Workers that are lost during the call are left out.
    """
    from distributed.comm import CommClosedError

    return [item for item in on_each_worker(function).items() if not isinstance(item[1], CommClosedError)]


def software() -> dict[str, str]:
    """Return the versions of Python and of the libraries, and a digest of the files of this software."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    major, minor, _ = python_version().split(".", 2)
    return {
        "Understory": digest(*map(sha256, files)),
        "Python": f"{major}.{minor}",
        **{library: version(library) for library in LIBRARIES},
    }


def _watch(client: "Client", address: str, ended: threading.Event, on_loss: Callable[[str], None]) -> None:
    """Call `on_loss` if for a long time there is no worker or no scheduler; return when `ended` is set."""
    seen = time.monotonic()
    problem = ""
    while not ended.wait(CHECK):
        try:
            problem = "" if client.ncores() else "has no worker any more"
        except Exception:  # its type depends on what is lost, and how
            problem = "does not answer any more"
        if not problem:
            seen = time.monotonic()
        elif time.monotonic() > seen + LOST and not ended.is_set():
            on_loss(f"--scheduler {address}: {problem}; run the same command again to continue")
