import time

import pytest
from threadpoolctl import threadpool_info

from features.common.parallel import in_parallel


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_are_in_the_order_of_the_arguments(n_jobs: int) -> None:
    def wait(k: int, seconds: float) -> int:
        time.sleep(seconds)
        return k

    arguments = [(0, 0.05), (1, 0.0), (2, 0.02)]
    assert list(in_parallel(wait, arguments, n_jobs)) == [0, 1, 2]


def test_libraries_use_one_thread() -> None:
    def n_threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info()}

    (found,) = in_parallel(n_threads, [()], 1)
    assert found <= {1}


def test_error_is_raised() -> None:
    def fail(k: int) -> int:
        raise ValueError(f"argument {k}")

    with pytest.raises(ValueError, match="argument 7"):
        list(in_parallel(fail, [(7,)], 1))
