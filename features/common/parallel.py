"""Parallel map over threads."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
from threadpoolctl import threadpool_limits


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
        yield from joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(
            joblib.delayed(function)(*a) for a in arguments
        )
