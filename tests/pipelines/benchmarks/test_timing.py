"""Timing of alternating calls, and the peak memory of a new process."""

import numpy as np

from pipelines.benchmarks import timing


def test_functions_are_called_in_turn_after_one_call_that_is_not_timed() -> None:
    calls: list[tuple[str, int]] = []
    functions = {name: lambda item, name=name: calls.append((name, item)) for name in "ab"}
    times = timing.alternate(functions, [1, 2], repeats=2)
    one_round = [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert calls == [("a", 1), ("b", 1), *one_round, *one_round]
    assert {name: len(t) for name, t in times.items()} == {"a": 4, "b": 4}


def allocate(n: int) -> None:
    assert np.ones(n, np.uint8).all()


def test_peak_memory_is_that_of_the_new_process() -> None:
    _, small = timing.in_new_process(allocate, 1)
    ballast = np.ones(300 * 2**20, np.uint8)  # memory of this process must not count
    _, large = timing.in_new_process(allocate, 200 * 2**20)
    assert ballast.all()
    assert 190 < large - small < 290
