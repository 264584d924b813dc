"""Kill workers of a Dask cluster, and the command that uses them: python tests/kill_cluster.py.

`tests/pipelines/test_cluster.py` does the same with a few kills.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from distributed import Client, LocalCluster

from tests import kill_predict
from tests.conftest import ROOT, run_command, write_small_dataset

COMMANDS = {
    "gbm": ("--trials", "2", "--folds", "3"),
    "gru": ("--epochs", "30", "--folds", "3"),
    "predict": ("--per-recording",),
}
DIFFERENT = ("metrics.json", "manifest.json", "leaderboard.csv", "history.csv", "optuna.db")
"""Files with seconds and times."""


@contextmanager
def local_cluster(n_workers: int = 2, beside: LocalCluster | None = None) -> Iterator[LocalCluster]:
    """Yield a cluster of processes on this machine, with one thread each.

    Parameters
    ----------
    n_workers : number of workers.
    beside : another cluster, whose event loop is used. A thread for another loop must start within 10 s,
        which a busy machine can fail to do.
    """
    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        loop=beside.loop if beside is not None else None,
    ) as cluster:
        yield cluster


def worker_processes(cluster: LocalCluster) -> list[int]:
    """Return the process ids of the workers."""
    with Client(cluster, set_as_default=False) as client:
        return list(client.run(os.getpid).values())


def arguments(command: str, folder: Path, out: Path) -> list[str]:
    """Return the arguments of a command on the data set in a folder; its results are in `out`."""
    if command == "predict":
        data = (folder / "season", "--model", folder / "whole" / "gbm", "--out", out / "predicted")
    else:
        data = ("--data", folder / "data", "--results", out)
    return [*map(str, data), *COMMANDS[command]]


def start(command: str, folder: Path, out: Path, cluster: LocalCluster) -> subprocess.Popen:
    """Start a command on a cluster."""
    script, flags = str(ROOT / "pipelines" / f"{command}.py"), ("--scheduler", cluster.scheduler_address)
    return subprocess.Popen(
        [sys.executable, script, *arguments(command, folder, out), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen, limit: float | None = None) -> None:
    """Wait for a command, which must end without an error."""
    _, stderr = process.communicate(timeout=limit)
    assert process.returncode == 0, stderr.decode()


def files(out: Path) -> dict[str, bytes]:
    """Return the contents of all files without times in them; none may be unfinished."""
    found = {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and file.name not in (*DIFFERENT, ".lock", ".written.json", "settings.json")
    }
    unfinished = [name for name in found if "/." in name]
    assert not unfinished, unfinished
    # Networks have the seconds of their training; their scores are compared.
    return {name: content for name, content in found.items() if not name.endswith((".pt", ".db"))}


def compare(folder: Path, out: Path) -> None:
    """Raise AssertionError unless `out` has the files of the run that was not killed."""
    expected, found = files(folder / "whole"), files(out)
    assert len(expected) > 30
    different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    assert not different, different[:10]


def write_whole(folder: Path, commands: Iterable[str], seconds: float, n_recordings: int) -> None:
    """Write a data set and recordings, and the results of commands that are not killed, with one job."""
    write_small_dataset(folder / "data", seconds=seconds)
    kill_predict.write_recordings(folder / "season", n_recordings)
    for command in commands:
        done = run_command(command, *arguments(command, folder, folder / "whole"), "--jobs", "1")
        assert done.returncode == 0, done.stderr


def undisturbed(cluster: LocalCluster, folder: Path) -> dict[str, float]:
    """Return the seconds of each command on the cluster without kills; its files must be the same."""
    seconds = {}
    for command in COMMANDS:
        begun = time.monotonic()
        finish(start(command, folder, folder / "undisturbed", cluster))
        seconds[command] = time.monotonic() - begun
    compare(folder, folder / "undisturbed")
    return seconds


def kill(
    cluster: LocalCluster,
    folder: Path,
    usual: Mapping[str, float],
    killed: Mapping[str, str],
    rng: random.Random,
) -> dict[str, float]:
    """Run commands, kill something at a random moment of each, and compare the files.

    Parameters
    ----------
    usual : seconds of each command without kills.
    killed : what to kill for each command: "worker", or "client" for the command, which is then run again.

    Returns
    -------
    dict of str to float
        Duration of each command, divided by the usual one.
    """
    out, ratios = folder / "killed", {}
    shutil.rmtree(out, ignore_errors=True)
    for command, whom in killed.items():
        begun = time.monotonic()
        process = start(command, folder, out, cluster)
        time.sleep(rng.uniform(0.2, 1.0) * usual[command])
        if whom == "worker":
            os.kill(rng.choice(worker_processes(cluster)), signal.SIGKILL)
        else:
            process.kill()
            process.communicate()
            process = start(command, folder, out, cluster)
        finish(process, limit=10 * usual[command])
        ratios[command] = (time.monotonic() - begun) / usual[command]
    compare(folder, out)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10, help="number of kills of workers, and of commands")
    parser.add_argument("--recordings", type=int, default=300, help="number of recordings for predict")
    args = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary, local_cluster() as cluster:
        folder = Path(temporary)
        write_whole(folder, COMMANDS, seconds=9.0, n_recordings=args.recordings)
        usual = undisturbed(cluster, folder)
        print(", ".join(f"{command} {seconds:.1f} s" for command, seconds in usual.items()), flush=True)
        for whom in ("worker", "client"):
            for k in range(args.kills):
                ratios = kill(cluster, folder, usual, dict.fromkeys(COMMANDS, whom), rng)
                text = ", ".join(f"{command} {ratio:.2f}" for command, ratio in ratios.items())
                print(f"{whom} killed, {k + 1}: {text}", flush=True)


if __name__ == "__main__":
    main()
