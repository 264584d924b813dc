"""The benchmarks on a small data set: their ratios are those of the measured times."""

import json
import platform
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from features.data.synthetic import SyntheticSettings
from pipelines import bench
from pipelines.benchmarks import reference_implementations as reference
from pipelines.benchmarks import suite
from pipelines.benchmarks.suite import BENCHMARKS, BenchmarkSettings
from tests.conftest import error_message, run_command

SMALL = BenchmarkSettings(
    recordings=SyntheticSettings(
        n_train=8, n_test=4, duration=8.0, sr=48_000, n_train_sites=6, n_test_sites=2, n_confusers=12
    ),
    n_timed=1,
    repeats=1,
    n_scaling=4,
    n_few=2,
    n_many=6,
    n_seeds=1,
    epochs=1,
    excerpt=1.0,
    n_scaled=(8, 16),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def in_this_process(function: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Stand in for `in_new_process`, which has its own test."""
    function(*arguments)
    return 1.0, 1.0


def parse_flags(command: list[str | Path], check: bool) -> None:
    """Stand in for `subprocess.run`: the command accepts its flags, but does not find the data set."""
    name, flags = Path(command[1]).stem, command[2:]
    elsewhere = [Path("missing") if isinstance(flag, Path) else flag for flag in flags]
    assert "missing" in error_message(run_command(name, *elsewhere))


@pytest.mark.parametrize("what", BENCHMARKS)
def test_ratios_of_each_benchmark_are_those_of_its_medians(
    what: str, folder: Path, trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "in_new_process", in_this_process)  # new processes import for seconds
    platform.processor()  # runs a program the first time
    monkeypatch.setattr(suite.subprocess, "run", parse_flags)
    monkeypatch.setattr(suite, "cross_validate", lambda model, folds: (None, 1.0))  # five fits
    if what in ("trees", "fit"):  # threads of LightGBM wait for each other if other tests use the cores
        monkeypatch.setattr(suite, "N_CORES", 1)
    peers = reference.classical_peers(0, 1)
    few_trees = peers["default LightGBM"]  # fitting 100 trees per species takes minutes
    few_trees.estimator.set_params(n_estimators=1)
    monkeypatch.setattr(reference, "classical_peers", lambda seed, n_jobs: peers)
    if what == "scale":
        shutil.copytree(trained[1] / "gbm", folder / "runs" / "gbm")
    bench.main(Namespace(what=what, results=folder), SMALL)
    report = json.loads((folder / f"{what}.json").read_text())
    assert report["median"] == {name: np.median(times) for name, times in report["times"].items()}
    assert min(report["median"].values()) > 0
    assert {"cores", "versions", "load_before"} <= set(report)
    ratios = [name.split(" / ") for name in report["figures"] if " / " in name]
    of_times = [(a, b) for a, b in ratios if a in report["median"]]
    assert of_times
    for a, b in of_times:
        assert report["figures"][f"{a} / {b}"] == report["median"][a] / report["median"][b]
    assert not (folder / "scratch").exists()
