"""The Optuna dashboard shows the study that `tune` writes."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import IntDistribution

from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.folds import split
from models.metrics import lrap
from models.study import SearchSpace, Study, database_url
from models.tuning import CrossValidation, tune
from tests.browser import rendered


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def get(url: str, process: subprocess.Popen) -> dict:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)
        except urllib.error.URLError:
            assert process.poll() is None, "the dashboard ended early"
            time.sleep(0.1)
    pytest.fail("the dashboard did not respond")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen]]:
    """Return the address and the process of a dashboard with a study of three trials."""
    database = tmp_path_factory.mktemp("study") / "optuna.db"
    rng = np.random.default_rng(0)
    truth = np.eye(2)[np.arange(12) % 2]
    fold = np.arange(12) // 2 % 3
    folds = split(rng.normal(size=(12, 3)), truth, fold)
    tune(
        lambda parameters: OneVsRestGBM(**parameters),
        CrossValidation(folds, np.arange(12), fold, truth, lrap),
        space=SearchSpace({"n_estimators": IntDistribution(2, 9)}, {"n_estimators": 5}),
        study=Study(database_url(database), "gbm-lrap-test", n_trials=3, seed=0),
    )
    port = free_port()
    program = Path(shutil.which("optuna-dashboard", path=Path(sys.executable).parent) or "")
    process = subprocess.Popen(
        [program, f"sqlite:///{database}", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}", process
    process.terminate()
    process.wait(10)


def test_dashboard_lists_the_study_and_its_trials(
    dashboard: tuple[str, subprocess.Popen],
) -> None:
    url, process = dashboard
    (summary,) = get(f"{url}/api/studies", process)["study_summaries"]
    assert summary["study_name"] == "gbm-lrap-test"
    detail = get(f"{url}/api/studies/{summary['study_id']}?after=0", process)
    assert [trial["number"] for trial in detail["trials"]] == [0, 1, 2]


def test_dashboard_page_shows_the_study(dashboard: tuple[str, subprocess.Popen]) -> None:
    url, process = dashboard
    get(f"{url}/api/studies", process)  # wait until it responds
    assert "gbm-lrap-test" in rendered(f"{url}/dashboard")
