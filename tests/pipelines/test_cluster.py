"""The same commands on a Dask cluster: same files, also if workers or commands are killed."""

import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError
from distributed.diagnostics.plugin import SchedulerPlugin

from features.common.errors import UserError
from features.common.files import read_json, remove_unfinished, replacing
from features.common.parallel import SharedArray, on_workers, shared
from pipelines.core.cluster import (
    _watch,
    connected,
    software,
    validate_shared_file,
    validate_shared_folder,
)
from tests import kill_cluster
from tests.conftest import ROOT, error_message, run_command, write_small_dataset


class Workers(SchedulerPlugin):
    """Remembers which workers have finished a task."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if finish == "memory" and "worker" in kwargs:
            self.addresses.add(kwargs["worker"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with kill_cluster.local_cluster() as started:
        yield started


def test_results_are_those_of_one_job(cluster: LocalCluster, tmp_path: Path) -> None:
    """Training with self-training, the blend, and prediction; a test below has a study."""
    data = write_small_dataset(tmp_path / "data", seconds=4.0)
    (data / "train_labels.csv").unlink()  # its labels leave nothing to self-training
    training = {"gbm": ("--trials", "0"), "gru": ("--epochs", "5"), "blend": ()}
    used = Workers()
    cluster.scheduler.add_plugin(used)
    runs = {"one": ("--jobs", "1"), "cluster": ("--scheduler", cluster.scheduler_address)}
    for name, own in runs.items():
        results = tmp_path / name / "results"
        for command, flags in training.items():
            extra = () if command == "blend" else ("--folds", "3", "--self-train", "1", *own)
            done = run_command(command, "--data", data, "--results", results, *flags, *extra)
            assert done.returncode == 0, done.stderr
        flags = ("--model", results / "blend", "--out", tmp_path / name / "out", "--per-recording")
        done = run_command("predict", data / "train", *flags, "--recall", "0.9", *own)
        assert done.returncode == 0, done.stderr
    expected, found = (kill_cluster.files(tmp_path / name) for name in runs)
    different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    # It has the ids of the members, which depend on seconds.
    assert different == ["results/blend/config.json"]
    scores = {f"results/{name}.npz" for name in ("gbm/oof", "gru/test", "blend/oof")}
    assert scores | {"out/scores.csv"} < found.keys()
    for command in ("gbm", "gru"):
        config = read_json(results / command / "config.json")
        assert min(config["self_training"]["n_soft_labels"]) > 0
    assert not (tmp_path / "cluster" / "out" / "parts").exists()
    assert len(used.addresses) == 2
    assert len(set(kill_cluster.worker_processes(cluster))) == 2


def test_killed_worker_and_killed_command_change_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    killed = {"gbm": "worker", "predict": "client"}
    kill_cluster.write_whole(tmp_path, killed, seconds=4.0, n_recordings=24)
    kill_cluster.kill(cluster, tmp_path, {"gbm": 8.0, "predict": 6.0}, killed, random.Random(0))


def test_task_that_kills_its_worker_is_an_error(cluster: LocalCluster) -> None:
    with (
        pytest.raises(UserError, match=r"4 workers were killed .*memory ran out.*--memory-limit"),
        connected(cluster.scheduler_address, pytest.fail),
    ):
        list(on_workers(_exit, [()], n_jobs=1))


def _exit() -> None:
    os._exit(1)


def test_error_of_a_task_is_that_of_the_function(cluster: LocalCluster) -> None:
    with pytest.raises(ZeroDivisionError), connected(cluster.scheduler_address, pytest.fail):
        list(on_workers(divmod, [(1, 1), (1, 0)], n_jobs=1))


def test_shared_array_is_sent_as_the_path_of_its_file(cluster: LocalCluster, tmp_path: Path) -> None:
    array = np.arange(1e6)
    with connected(cluster.scheduler_address, pytest.fail):
        sent = shared(array, tmp_path)
        assert isinstance(sent, SharedArray)
        assert len(pickle.dumps(sent)) < 300
        assert len(pickle.dumps(sent[: len(sent) // 2])) > 8 * len(sent) // 2
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(sent[2:5])), array[2:5])
        assert list(on_workers(np.sum, [(sent,), (sent[:2],)], n_jobs=1)) == [array.sum(), 1]
    assert shared(array, tmp_path) is array


def test_scheduler_that_does_not_answer_is_an_error(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.core.cluster.CONNECT", 0.5)
    for address, reason in (
        ("tcp://127.0.0.1:1", "no Dask scheduler answers; start one with 'dask scheduler'"),
        ("nonsense:x", "no Dask scheduler answers"),
    ):
        flags = ("--model", trained[1] / "gbm", "--out", tmp_path / "out", "--scheduler", address)
        assert reason in error_message(run_command("predict", trained[0] / "train", *flags))


def test_cluster_without_workers_is_an_error(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.core.cluster.CONNECT", 0.5)
    with (
        kill_cluster.local_cluster(n_workers=0, beside=cluster) as empty,
        pytest.raises(UserError, match=r"has no worker; start one with 'dask worker tcp://"),
        connected(empty.scheduler_address, pytest.fail),
    ):
        pass


def test_worker_with_other_software_is_an_error(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.core.cluster.version", lambda _: "0.1")
    with (
        pytest.raises(
            UserError,
            match=r"worker tcp://.*: has numpy .*, but this machine has 0\.1; .*install the same",
        ),
        connected(cluster.scheduler_address, pytest.fail),
    ):
        pass


def test_worker_that_is_lost_meanwhile_is_left_out(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, Any] = {
        "tcp://lost": CommClosedError("Stream is closed"),
        "tcp://node2": {**software(), "numpy": "0.1"},
    }
    monkeypatch.setattr("pipelines.core.cluster.on_each_worker", lambda _: answers)
    with (
        pytest.raises(UserError, match=r"^worker tcp://node2: has numpy 0\.1"),
        connected(cluster.scheduler_address, pytest.fail),
    ):
        pass
    answers["tcp://node2"] = PermissionError("no access")  # of the function, so the worker is there
    with (
        pytest.raises(UserError, match=r"^worker tcp://node2: does not answer \(no access\)"),
        connected(cluster.scheduler_address, pytest.fail),
    ):
        pass
    del answers["tcp://node2"]
    with connected(cluster.scheduler_address, pytest.fail):
        pass


def test_folder_that_workers_do_not_see_is_an_error(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(cluster.scheduler_address, pytest.fail):
        validate_shared_folder(tmp_path, "--out")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(UserError, match=r"worker tcp://.*: does not see .*at the same path"):
            validate_shared_file(tmp_path / "missing.wav")


def test_lost_workers_end_a_command(cluster: LocalCluster) -> None:
    """All workers are gone, and none comes back."""
    lost: list[str] = []
    with kill_cluster.local_cluster(beside=cluster) as started:
        ended = threading.Event()
        with (
            Client(started, set_as_default=False) as client,
            mock.patch("pipelines.core.cluster.LOST", 0.2),
            mock.patch("pipelines.core.cluster.CHECK", 0.1),
        ):
            started.scale(0)
            while client.ncores():
                time.sleep(0.1)
            _watch(client, "tcp://x", ended, lambda message: (lost.append(message), ended.set()))
    assert lost == ["--scheduler tcp://x: has no worker any more; run the same command again to continue"]


def test_lost_scheduler_ends_a_command(cluster: LocalCluster) -> None:
    with kill_cluster.local_cluster(n_workers=1, beside=cluster) as started:
        threading.Timer(2.0, started.close).start()
        with (
            pytest.raises(UserError, match="the connection was lost; run the same command again to continue"),
            connected(started.scheduler_address, pytest.fail),
        ):
            list(on_workers(time.sleep, [(60,)], n_jobs=1))


def test_commands_without_a_scheduler_do_not_import_dask() -> None:
    code = (
        "import sys, runpy; sys.argv = ['pipelines/predict.py', '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed', 'psycopg')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_missing_dask_is_an_error() -> None:
    with (
        mock.patch.dict(sys.modules, {"distributed": None}),
        pytest.raises(UserError, match=r"--scheduler needs Dask .*pip install 'understory\[cluster\]'"),
        connected("tcp://127.0.0.1:1", pytest.fail),
    ):
        pass


def test_parts_of_a_killed_command_are_merged_and_damaged_ones_ignored(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    """A worker had written a part before the command was killed."""
    model, flags = trained[1] / "gbm", ("--recall", "0.9")
    first = run_command("predict", trained[0] / "test", "--model", model, "--out", tmp_path / "part", *flags)
    assert first.returncode == 0, first.stderr
    parts = tmp_path / "out" / "parts"
    parts.mkdir(parents=True)
    shutil.copy(tmp_path / "part" / "predictions.db", parts / "a.db")
    (parts / "b.db").write_text("no database" * 100)
    again = run_command("predict", trained[0] / "test", "--model", model, "--out", tmp_path / "out", *flags)
    assert "2 of 2 recordings are already scored" in again.stdout
    assert kill_cluster.files(tmp_path / "out") == kill_cluster.files(tmp_path / "part")


def test_two_writers_of_a_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with replacing(file, unique=True) as first, replacing(file, unique=True) as second:
        assert first != second
        first.write_text("same")
        second.write_text("same")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    (tmp_path / ".a.new-0123abcd.npz").touch()
    (tmp_path / ".a.npz").touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.npz", "a.npz"]
