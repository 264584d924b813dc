"""Commands that are killed or run at the same time, and models that are loaded while they are replaced."""

import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from features.common.files import read_json, replacing_folder
from pipelines.core.detector import Detector
from pipelines.core.runs import RunError
from pipelines.reviewing.queue import VERDICTS
from tests.conftest import FLAGS, ROOT, error_message, sign
from tests.fuzzing.mutation import check_message

MADE_BY = {"gbm": ("gbm", "frames", "optuna.db"), "gru": ("gru", "checkpoints"), "blend": ("blend",)}
PAUSE = 1.0  # seconds between two replacements, so that most loads need no more than a second attempt
KILL_AT_WRITE = str(Path(__file__).with_name("kill_at_write.py"))


def call(pipeline: str, data: Path, results: Path) -> list[str]:
    """Return the command line of a training command."""
    script = str(ROOT / "pipelines" / f"{pipeline}.py")
    return [sys.executable, script, "--data", str(data), "--results", str(results), *FLAGS[pipeline]]


def contents(results: Path) -> dict[str, object]:
    """Return the contents of all files that must not depend on interruptions."""
    found: dict[str, object] = {}
    for file in sorted(results.rglob("*")):
        name = str(file.relative_to(results))
        # Studies, networks, metrics and manifests contain times, so they are left out.
        if file.is_file() and file.suffix in (".npz", ".txt", ".csv") and file.name != "leaderboard.csv":
            found[name] = file.read_bytes()
        elif file.is_dir():
            found[name] = "folder"
    if (results / "leaderboard.csv").exists():
        board = pd.read_csv(results / "leaderboard.csv").drop(columns="seconds")
        found["leaderboard.csv"] = board.to_csv()
    return found


@dataclass(frozen=True)
class Setting:
    """A data set, the results of all commands, and the output of the commands that do not train.

    Attributes
    ----------
    folder : folder for copies.
    data : the data set.
    whole : folder with "results" and the `OUTPUTS` of commands that were not killed.
    seconds : duration of each command.
    n_writes : number of writes of each command.
    """

    folder: Path
    data: Path
    whole: Path
    seconds: Mapping[str, float]
    n_writes: Mapping[str, int]

    @classmethod
    def make(cls, folder: Path, data: Path) -> "Setting":
        """Run every command once."""
        whole, seconds, n_writes = folder / "whole", {}, {}
        _copy_to_review(data, whole)
        for name in COMMANDS:
            started = time.perf_counter()
            done = run_until_write(name, data, whole, 0)
            assert done.returncode == 0, done.stderr
            seconds[name], n_writes[name] = time.perf_counter() - started, int(done.stderr.split()[-1])
            if name == "queue":
                _write_verdicts(whole / "queue")
        return cls(folder, data, whole, seconds, n_writes)


def _flags(name: str, data: Path, out: Path) -> list[str]:
    """Return the script and the flags of a command that writes into the folder `out`."""
    if name in FLAGS:
        return call(name, data, out / "results")[1:]
    script, flags = {
        "report": ("report", ["--data", data, "--results", out / "results"]),
        "predict": (
            "predict",
            [
                *(data / "test", "--model", out / "results" / "blend", "--out", out / "predicted"),
                *("--jobs", "1", "--per-recording", "--recall", "0.99"),
            ],
        ),
        "export": ("convert", ["export", data, "--out", out / "exported", "--per-recording"]),
        "import": (
            "convert",
            ["import", data / "train", "--boxes", out / "exported", "--out", out / "imported", "--copy"],
        ),
        "queue": (
            "review",
            [
                *("queue", data / "test", "--model", out / "results" / "blend", "--n", "9", "--jobs", "1"),
                *("--predicted", out / "predicted", "--out", out / "queue"),
            ],
        ),
        "apply": ("review", ["apply", out / "queue" / "verdicts.csv", "--data", out / "reviewed", "--copy"]),
    }[name]
    return [str(ROOT / "pipelines" / f"{script}.py"), *map(str, flags)]


OUTPUTS = {
    "report": "results",
    "predict": "predicted",
    "export": "exported",
    "import": "imported",
    "queue": "queue",
    "apply": "reviewed",
}
COMMANDS = (*FLAGS, *OUTPUTS)


def run_until_write(name: str, data: Path, out: Path, n: int) -> subprocess.CompletedProcess:
    """Run a command that is killed before its n-th write, or to its end if n is 0."""
    command = [sys.executable, KILL_AT_WRITE, str(n), str(out), *_flags(name, data, out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def try_kill_at_write(setting: Setting, rng: np.random.Generator) -> str:
    """Kill a command before one of its writes and run it again; return the outcome.

    After the kill, every run that was complete before is still complete, the old or the new one. After the
    second run, all files are those of a command that was not killed.
    """
    name = str(rng.choice(COMMANDS))
    out = _copy(setting, name, fresh=rng.random() < 0.5)
    runs_before = {path.parent.name for path in (out / "results").glob("*/manifest.json")}
    done = run_until_write(name, setting.data, out, int(rng.integers(1, setting.n_writes[name] + 1)))
    assert done.returncode in (0, -9), done.stderr
    for run in runs_before - {"prior", "background"}:
        try:
            Detector.load(out / "results" / run)
        except RunError:
            if run != "blend":  # a blend is rejected if a member has been replaced
                raise
    _finish(setting, name, out)
    return f"{name} killed" if done.returncode else f"{name} had ended"


def try_kill(setting: Setting, rng: np.random.Generator) -> str:
    """Kill a command at a random moment and run it again; return the outcome."""
    name = str(rng.choice(COMMANDS))
    out = _copy(setting, name, fresh=rng.random() < 0.7)
    process = subprocess.Popen(
        [sys.executable, *_flags(name, setting.data, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with suppress(subprocess.TimeoutExpired):  # a command spends the first third of its time on imports
        process.wait(setting.seconds[name] * rng.uniform(0.3, 1.05))
    running = process.poll() is None
    process.kill()
    process.wait()
    _finish(setting, name, out)
    return f"{name} killed" if running else f"{name} had ended"


def try_pair(setting: Setting, rng: np.random.Generator) -> str:
    """Start two commands at once on one folder: each does its work, or says that the folder is in use."""
    names = [str(name) for name in rng.choice(["gbm", "gru"], 2)]
    out = _copy(setting, "gbm", fresh=True)
    processes = []
    for name in names:
        command = [sys.executable, *_flags(name, setting.data, out)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        time.sleep(rng.uniform(0, 0.5))
    refused = 0
    for process in processes:
        printed = process.communicate()
        if process.returncode:
            done = subprocess.CompletedProcess(process.args, process.returncode, *printed)
            assert "another command is writing to this folder" in error_message(done)
            refused += 1
    assert refused < 2
    for name in set(names) | {"gbm"}:
        _run(name, setting, out)
    _finish(setting, "blend", out)
    return f"{refused} refused"


def _copy(setting: Setting, name: str, *, fresh: bool) -> Path:
    """Return a copy of the whole output, without what a command makes if `fresh` is true."""
    out = setting.folder / "killed"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(setting.whole, out)
    made = [Path("results") / part for part in MADE_BY.get(name, ())] or [Path(OUTPUTS[name])]
    for path in made if fresh and name != "report" else ():
        (out / path).unlink() if (out / path).is_file() else shutil.rmtree(out / path)
    if name == "queue":
        (out / "queue" / VERDICTS).unlink(missing_ok=True)  # a queue with verdicts is not replaced
    if name == "apply" and fresh:
        _copy_to_review(setting.data, out)
    return out


def _copy_to_review(data: Path, out: Path) -> None:
    """Copy the data set to the folder that `review.py apply` changes, without complete labels."""
    shutil.copytree(data, out / "reviewed")
    (out / "reviewed" / "train_labels.csv").unlink()
    groups = pd.read_csv(data / "groups.csv")
    new = pd.DataFrame({"recording_id": ["t0", "t1"], "group": ["t0", "t1"]})
    pd.concat([groups, new]).to_csv(out / "reviewed" / "groups.csv", index=False)


def _write_verdicts(queue: Path) -> None:
    """Write verdicts on all windows of a queue: yes, no and unsure in turn."""
    items = pd.read_csv(queue / "queue.csv")[["item", "recording_id", "species", "t_min", "t_max"]]
    items.insert(0, "queue", read_json(queue / "queue.json")["id"])
    answers = np.resize(["yes", "no", "unsure"], len(items))
    items.assign(verdict=answers, reviewed="2026-11-28T10:00:00Z").to_csv(queue / VERDICTS, index=False)


def _run(name: str, setting: Setting, out: Path) -> None:
    command = [sys.executable, *_flags(name, setting.data, out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"


def _finish(setting: Setting, name: str, out: Path) -> None:
    """Run a command again, and compare all files with those of commands that were not killed."""
    _run(name, setting, out)
    if name in ("gbm", "gru"):
        _run("blend", setting, out)
    if name == "queue":
        _write_verdicts(out / "queue")
    expected, found = contents(setting.whole), contents(out)
    different = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    assert not different, f"{name}: {different}"


def count_loads(folder: Path, data: Path, n_loads: int) -> dict[str, int]:
    """Load a model while it is replaced again and again; return how often each outcome occurred.

    A load gives the first or the second version, or an error that says that the run keeps being replaced.
    """
    recording = data / "test" / "t0.flac"
    versions = []
    for seed in ("0", "1"):
        results = folder / f"seed{seed}"
        subprocess.run([*call("gbm", data, results), "--seed", seed], check=True, capture_output=True)
        versions.append(results / "gbm")
    expected = [Detector.load(version).score(recording).recording.to_numpy() for version in versions]
    assert not np.array_equal(*expected)
    results = shutil.copytree(versions[0].parent, folder / "replaced")
    process = multiprocessing.get_context("fork").Process(target=_replace, args=(versions, results / "gbm"))
    process.start()
    counts = {"first": 0, "second": 0, "rejected": 0}
    try:
        for _ in range(n_loads):
            try:
                detector = Detector.load(results / "gbm")
            except RunError as error:
                check_message(error, "another command keeps replacing this run")
                counts["rejected"] += 1
                continue
            scores = detector.score(recording).recording.to_numpy()
            is_first, is_second = (np.array_equal(scores, values) for values in expected)
            assert is_first or is_second, scores
            counts["first"] += is_first
            counts["second"] += is_second
    finally:
        process.kill()
        process.join()
    return counts


def _replace(versions: list[Path], run: Path) -> None:
    """Replace a run by both versions in turn, until the process is killed."""
    while True:
        for version in reversed(versions):
            with replacing_folder(run) as temporary:
                shutil.copytree(version, temporary, dirs_exist_ok=True)
                sign(temporary)  # each run states when it was written, so no two have the same manifest
            time.sleep(PAUSE)
