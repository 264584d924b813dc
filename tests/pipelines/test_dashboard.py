"""The Optuna dashboard serves the study that the GBM's tuning writes."""

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

from models.folds import split
from models.metrics import lrap
from models.tuning import Task, tune
from tests.browser import rendered


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def get(url: str, process: subprocess.Popen) -> dict:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            assert process.poll() is None, "the dashboard ended"
            time.sleep(0.1)
    pytest.fail("the dashboard did not answer")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address and the process of a dashboard that serves a study of three trials."""
    database = tmp_path_factory.mktemp("study") / "optuna.db"
    rng = np.random.default_rng(0)
    truth = np.eye(2)[np.arange(12) % 2]
    fold = np.arange(12) // 2 % 3
    task = Task(split(rng.normal(size=(12, 3)), truth, fold), np.arange(12), fold, truth, lrap)
    tune(task, 3, 0, 1, database, "gbm-lrap-test")
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


def test_the_dashboard_answers_with_the_study_and_its_trials(
    dashboard: tuple[str, subprocess.Popen],
) -> None:
    url, process = dashboard
    (summary,) = get(f"{url}/api/studies", process)["study_summaries"]
    assert summary["study_name"] == "gbm-lrap-test"
    detail = get(f"{url}/api/studies/{summary['study_id']}?after=0", process)
    assert [trial["number"] for trial in detail["trials"]] == [0, 1, 2]


def test_a_person_sees_the_study(dashboard: tuple[str, subprocess.Popen]) -> None:
    url, process = dashboard
    get(f"{url}/api/studies", process)  # it is up
    assert "gbm-lrap-test" in rendered(f"{url}/dashboard")
