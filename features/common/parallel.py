"""Parallel maps: over the threads of this process, and over the workers of a cluster."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from threadpoolctl import threadpool_limits

from features.common.files import digest, replacing

QUEUE = 4  # calls per worker that are sent before their results are awaited
RECOUNT = 5.0  # s after which the workers of a cluster are counted again
_client: ContextVar[Any] = ContextVar("client", default=None)


def in_parallel(function: Callable[..., Any], arguments: Iterable[tuple], n_jobs: int) -> Iterator[Any]:
    """Yield `function(*a)` for each `a` in `arguments`, in order, computed by `n_jobs` threads.

    Decoding, Fourier transforms, sorting and LightGBM release the GIL, so threads run in parallel; starting a
    process would take about a second. Inside each thread, libraries use a single thread, because nested
    threads are slower and the last bits of a matrix product can depend on the number of threads.

    Parameters
    ----------
    function : callable
    arguments : iterable of tuple
        Positional arguments of each call.
    n_jobs : int
        Number of threads.

    Examples
    --------
    >>> list(in_parallel(pow, [(2, 3), (3, 2)], n_jobs=2))
    [8, 9]
    """
    with threadpool_limits(1):
        yield from joblib.Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")(
            joblib.delayed(function)(*a) for a in arguments
        )


@contextmanager
def use_cluster(client: Any) -> Iterator[None]:
    """Let `on_workers` use a cluster in this block; `client` is a `dask.distributed.Client`."""
    token = _client.set(client)
    try:
        yield
    finally:
        _client.reset(token)


def on_workers(function: Callable[..., Any], arguments: Iterable[tuple], n_jobs: int) -> Iterator[Any]:
    """Yield `function(*a)` for each `a` in `arguments`, in order, computed by a cluster if there is one.

    Within `use_cluster`, the workers of the cluster compute the calls, else `in_parallel` does. A cluster
    repeats calls whose worker has died, so `function` may run more than once for the same arguments, even at
    the same time.

    Parameters
    ----------
    function : callable
        It is sent to each worker once, not with each call. On a cluster it must be picklable, and so must the
        arguments and results.
    arguments : iterable of tuple
        Positional arguments of each call.
    n_jobs : int
        Number of threads without a cluster.

    Notes
    -----
    This does not use joblib's backend for Dask, which computes all calls in this process if only one worker
    is left, and which loses large arguments together with the worker that stores them.

    Examples
    --------
    >>> list(on_workers(pow, [(2, 3), (3, 2)], n_jobs=2))
    [8, 9]
    """
    client = _client.get()
    if client is None:
        yield from in_parallel(function, arguments, n_jobs)
        return
    # The result of a task, because Dask computes it again if the worker that stores it dies.
    sent = client.submit(_identity, function, pure=False)
    pending: deque[Any] = deque()
    counted, limit = -math.inf, 0
    try:
        for a in arguments:
            pending.append(client.submit(_call, sent, a, pure=False))
            if time.monotonic() > counted + RECOUNT:
                counted, limit = time.monotonic(), QUEUE * max(n_workers(), 1)
            while len(pending) >= limit:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        client.cancel(list(pending))


def on_cluster() -> bool:
    """Return whether `on_workers` uses a cluster."""
    return _client.get() is not None


def n_workers() -> int:
    """Return the number of calls that the cluster computes at the same time."""
    return sum(_client.get().ncores().values())


def on_each_worker(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Return what a function returns in each worker of the cluster, by address; an exception if it fails."""
    return _client.get().run(function, *arguments, on_error="return")


class SharedArray(np.memmap):
    """An array in a file that all workers can read. If it is pickled, only the path of the file is."""

    _file: Path | None = None  # not copied to slices and other arrays that are made of this one

    @classmethod
    def open(cls, file: Path) -> Self:
        """Return the array in a file of NumPy's format, mapped into memory."""
        array = np.load(file, mmap_mode="r", allow_pickle=False).view(cls)
        array._file = file
        return array

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._file is None:
            return np.array(self).__reduce_ex__(protocol)
        return SharedArray.open, (self._file,)


def shared(array: np.ndarray, folder: Path) -> np.ndarray:
    """Return an array as an argument for `on_workers`. On a cluster, it is in a file in `folder`.

    Parameters
    ----------
    array : np.ndarray
    folder : Path
        Folder that all workers can read.

    Examples
    --------
    >>> shared(np.arange(3), Path("results"))
    array([0, 1, 2])
    """
    if not on_cluster():
        return array
    file = folder / f"{digest(array)}.npy"
    if not file.exists():
        with replacing(file) as temporary:
            np.save(temporary, array, allow_pickle=False)
    return SharedArray.open(file)


def _identity(value: Any) -> Any:
    return value


def _call(function: Callable[..., Any], arguments: tuple) -> Any:
    """Return `function(*arguments)`, computed in a worker of a cluster."""
    # The limit is not lifted after the call, because other threads of the worker may need it.
    threadpool_limits(1)
    return function(*arguments)
