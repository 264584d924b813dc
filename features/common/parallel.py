"""The same work on many recordings, on several cores."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

# Of whoever stops at the first recording that fails; its error says more.
warnings.filterwarnings("ignore", r"\d+ tasks (have been successfully|which were)", UserWarning)


def in_parallel(function: Callable[..., Any], arguments: Iterable[tuple], n_jobs: int) -> Iterator[Any]:
    """Yield `function(*a)` for each `a` of `arguments`, in their order, computed by `n_jobs` threads.

    Threads, not processes: decoding, transforming, sorting and LightGBM all leave Python's lock to
    others, and a second process takes a second to import what it needs. One thread inside each:
    nested threads fight for cores, and a product's last bits may hang on how it is split.
    """
    with threadpool_limits(1):
        yield from joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(
            joblib.delayed(function)(*a) for a in arguments
        )
