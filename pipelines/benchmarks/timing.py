"""Timing of implementations in alternation, with all times and medians, and peak memory of a new process."""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from features.common.files import write_json
from pipelines.core.runs import versions

Input = TypeVar("Input")


class Report:
    """Figures of one benchmark: times of the implementations, and ratios of their median times.

    Parameters
    ----------
    unit : what a time refers to, such as "per epoch".

    Attributes
    ----------
    times : name of an implementation -> seconds of each call.
    figures : name -> ratio or other figure.
    bars : name of a figure -> the value that this project aims for, such as "at most 1.4".
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.times: dict[str, list[float]] = {}
        self.figures: dict[str, float | str] = {}
        self.bars: dict[str, str] = {}

    def median(self, contestant: str) -> float:
        """Return the median time of an implementation, s."""
        return float(np.median(self.times[contestant]))

    def ratio(self, contestant: str, to: str, bar: str | None = None) -> None:
        """Add the ratio of the median times of two implementations to the figures."""
        self.add(f"{contestant} / {to}", self.median(contestant) / self.median(to), bar)

    def add(self, name: str, figure: float | str, bar: str | None = None) -> None:
        """Add a figure, and the value that this project aims for if it has one."""
        self.figures[name] = figure
        if bar is not None:
            self.bars[name] = bar

    def write(self, file: Path, load: tuple[float, float, float]) -> None:
        """Print the report and write it to a JSON file with all times.

        Parameters
        ----------
        load : load averages of the machine before the benchmark.
        """
        rows = [(name, self.median(name), len(times)) for name, times in self.times.items()]
        print(pd.DataFrame(rows, columns=["", f"median s {self.unit}", "runs"]).to_string(index=False))
        print()
        for name, value in self.figures.items():
            bar = f" (bar: {self.bars[name]})" if name in self.bars else ""
            print(f"{name}: {value if isinstance(value, str) else f'{value:.3g}'}{bar}")
        write_json(
            file,
            {
                "unit": f"seconds {self.unit}",
                "median": {name: self.median(name) for name in self.times},
                "times": self.times,
                "figures": self.figures,
                "bars": self.bars,
                "cores": os.cpu_count(),
                "processor": platform.processor() or platform.machine(),
                "load_before": load,
                "versions": versions(),
            },
        )
        print(f"\n{file}\n")


def alternate(
    contestants: Mapping[str, Callable[[Input], Any]], inputs: Sequence[Input], repeats: int
) -> dict[str, list[float]]:
    """Return the seconds of each call of each implementation.

    First, each implementation is called once without timing. Then all are called in turn on each input.

    Parameters
    ----------
    contestants : name of an implementation -> function of one input.
    inputs : inputs of the functions.
    repeats : number of times that all inputs are repeated.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for work in contestants.values():
        work(inputs[0])
    for _ in range(repeats):
        for item in inputs:
            for name, work in contestants.items():
                started = time.perf_counter()
                work(item)
                times[name].append(time.perf_counter() - started)
    return times


def in_new_process(work: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """Return the seconds that `work(*arguments)` took in a new process, and the peak memory there, MiB."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, work, *arguments).result()


def _measured(work: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    started = time.perf_counter()
    work(*arguments)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage includes the peak of the parent process
        lines = status.read_text().splitlines()
        return seconds, next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    import resource

    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
