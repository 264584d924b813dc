"""Fuzz tests with damaged input and killed commands: python tests/fuzz.py --minutes 20.

Bytes of audio, tables and model files are changed. Each changed file must be read, or rejected with a clear
error. Commands are killed at random moments and run again. Their results must equal those of a command that
was not killed. `pipelines/test_faults.py` runs a small part of these tests.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import io
import multiprocessing
import shutil
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
import pandas as pd
import soundfile

from features.common.errors import UserError
from features.data.dataset import load_dataset
from features.frames.spectral import SpectralSettings
from features.frames.store import frames_of
from pipelines.core.detector import Detector
from tests.conftest import FLAGS, ROOT, sign_all, tone, write_small_dataset

SETTINGS = SpectralSettings()
FORMATS = {".flac": "PCM_16", ".wav": "FLOAT", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
RATES = (8_000, 16_000, 32_000, 44_100, 48_000)
TOKENS = ("", "NaN", "inf", "-1", "1e309", "3.5", "99999999999999999999", "s0", "a0", "../a0", "é", '"', "\0")
BYTES = (b";", b"\r", b"\n", b'"', b",", b"\xff", b"\0", b"\xef\xbb\xbf", b"\t", b"nan")
MODEL_FILES = {
    "gbm": (
        *("gbm/config.json", "gbm/trees.json", "gbm/trees_s*.txt"),
        *("gbm/linear.npz", "gbm/species_bands.npz", "gbm/templates.npz", "gbm/patches.npz"),
    ),
    "gru": ("gru/config.json", "gru/fold*.pt"),
    "blend": ("blend/config.json",),
}
MADE_BY = {"gbm": ("gbm", "frames", "optuna.db"), "gru": ("gru", "checkpoints"), "blend": ()}
MAX_SECONDS = 60  # per case


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes after a random change: cut, flipped, overwritten, removed, repeated or inserted."""
    at, end = np.sort(rng.integers(0, len(content) + 1, 2))
    match rng.integers(6):
        case 0:
            return content[:at]
        case 1:
            flipped = bytearray(content)
            for k in rng.integers(0, max(len(content), 1), rng.integers(1, 9)) if content else ():
                flipped[k] ^= 1 << int(rng.integers(8))
            return bytes(flipped)
        case 2:
            return content[:at] + rng.bytes(end - at) + content[end:]
        case 3:
            return content[:at] + content[end:]
        case 4:
            return content[:end] + content[at:]
        case _:
            return content[:at] + BYTES[rng.integers(len(BYTES))] + content[at:]


def try_audio(folder: Path, rng: np.random.Generator) -> str:
    """Read the frames of a mutated audio file; return the outcome, "read" or "rejected"."""
    suffix = str(rng.choice(list(FORMATS)))
    sr = int(rng.choice(RATES))
    y = tone(1000, rng.uniform(0, 3), sr, int(rng.integers(99)))
    y = np.stack([y] * rng.integers(1, 3), axis=1)
    if suffix == ".wav" and len(y) and rng.random() < 0.3:
        y[rng.integers(len(y))] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 1e-40])
    file = folder / f"x{suffix}"
    soundfile.write(file, y, sr, subtype=FORMATS[suffix])
    file.write_bytes(mutated(file.read_bytes(), rng))
    try:
        frames = frames_of(file, SETTINGS)
    except UserError as error:
        return check_message(error, file)
    assert np.isfinite(frames.levels).all()
    assert np.isfinite(frames.contrast).all()
    return "read"


def try_table(folder: Path, rng: np.random.Generator) -> str:
    """Load a data set after a change of some bytes or of a cell in a table; return the outcome."""
    root = folder / "small"
    if not root.exists():
        write_small_dataset(root)
    tables = sorted(root.glob("*.csv"))
    file = tables[rng.integers(len(tables))]
    before = file.read_bytes()
    if rng.random() < 0.5:
        file.write_bytes(mutated(before, rng))
    else:
        cells = pd.read_csv(io.BytesIO(before), dtype=str)
        cells.iloc[rng.integers(len(cells)), rng.integers(cells.shape[1])] = rng.choice(TOKENS)
        cells.to_csv(file, index=False, sep=str(rng.choice([",", ",", ";"])))
    try:
        dataset = load_dataset(root)
    except UserError as error:
        return check_message(error, root)
    finally:
        file.write_bytes(before)
    assert set(dataset.tp["recording_id"]) <= set(dataset.train)
    assert dataset.tp["species_id"].between(0, dataset.n_species - 1).all()
    assert np.isfinite(dataset.tp[["t_min", "t_max", "f_min", "f_max"]]).all(axis=None)
    return "read"


def try_model(folder: Path, rng: np.random.Generator, results: Path, recording: Path) -> str:
    """Score a recording with a model that has a mutated file; return the outcome.

    In half of the cases the manifest lists the mutated file, so that only the loaders can reject it.
    """
    models = folder / "models"
    shutil.rmtree(models, ignore_errors=True)
    shutil.copytree(results, models)
    model = str(rng.choice(list(FLAGS)))
    of_model = MODEL_FILES[model if model != "blend" else str(rng.choice(list(FLAGS)))]
    files = sorted(file for pattern in of_model for file in models.glob(pattern))
    file = files[rng.integers(len(files))]
    before = file.read_bytes()
    file.write_bytes(mutated(before, rng))
    changed, signed = file.read_bytes() != before, bool(rng.integers(2))
    if signed:
        sign_all(models)
    try:
        scores = Detector.load(models / model).score(recording).recording
    except UserError as error:
        return check_message(error, models)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert signed or not changed or model == "blend", "a changed file was read"  # a blend may not use it
    return "read"


def check_message(error: UserError, path: Path) -> str:
    """Check that an error names the file; return the outcome, "rejected"."""
    assert str(path) in str(error), f"message without {path}: {error}"
    return "rejected"


def call(pipeline: str, data: Path, results: Path) -> list[str]:
    """Return the command line of a command."""
    script = str(ROOT / "pipelines" / f"{pipeline}.py")
    return [sys.executable, script, "--data", str(data), "--results", str(results), *FLAGS[pipeline]]


def run_whole(data: Path, results: Path) -> dict[str, float]:
    """Run every command; return the seconds that each took."""
    seconds = {}
    for pipeline in FLAGS:
        started = time.perf_counter()
        subprocess.run(call(pipeline, data, results), check=True, capture_output=True)
        seconds[pipeline] = time.perf_counter() - started
    return seconds


def kill_and_repeat(
    pipeline: str, data: Path, results: Path, wait: Callable[[subprocess.Popen], None]
) -> bool:
    """Kill a command when `wait` returns, then run it to its end; return whether the kill ended it."""
    process = subprocess.Popen(
        call(pipeline, data, results), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait(process)
    running = process.poll() is None
    process.kill()
    process.wait()
    done = subprocess.run(call(pipeline, data, results), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{pipeline} after a kill: {done.stderr}"
    return running


def contents(results: Path) -> dict[str, object]:
    """Return the contents of all files that must not depend on interruptions."""
    found: dict[str, object] = {}
    for file in sorted(results.rglob("*")):
        name = str(file.relative_to(results))
        # Studies, networks and metrics contain times, so they are left out.
        if file.is_file() and file.suffix in (".npz", ".txt", ".csv") and file.name != "leaderboard.csv":
            found[name] = file.read_bytes()
        elif file.is_dir():
            found[name] = "folder"
    board = pd.read_csv(results / "leaderboard.csv").drop(columns="seconds")
    return found | {"leaderboard.csv": board.to_csv()}


def try_kill(
    folder: Path, rng: np.random.Generator, whole: Path, data: Path, seconds: dict[str, float]
) -> str:
    """Kill a command at a random moment and run it again; return the outcome."""
    results = folder / "killed"
    shutil.rmtree(results, ignore_errors=True)
    pipeline = str(rng.choice(list(FLAGS)))
    shutil.copytree(whole, results)
    if pipeline != "blend" and rng.random() < 0.7:  # mostly without earlier results
        for made in MADE_BY[pipeline]:
            path = results / made
            path.unlink() if path.is_file() else shutil.rmtree(path)
    # A command spends the first third of its time on imports.
    after = seconds[pipeline] * rng.uniform(0.3, 1.05)

    def wait(process: subprocess.Popen) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)

    running = kill_and_repeat(pipeline, data, results, wait)
    subprocess.run(call("blend", data, results), check=True, capture_output=True)
    expected, found = contents(whole), contents(results)
    different = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    assert not different, f"{pipeline} after a kill at {after:.2f} s: {different}"
    return f"{pipeline} killed" if running else f"{pipeline} had ended"


def _in_child(case: Callable[[], str], report: multiprocessing.SimpleQueue) -> None:
    try:
        report.put((True, case()))
    except BaseException:
        report.put((False, traceback.format_exc(limit=-3)))


def isolated(case: Callable[[], str]) -> tuple[bool, str]:
    """Run a case in its own process, because it may crash; return whether it ended well, and the outcome."""
    context = multiprocessing.get_context("fork")
    report: multiprocessing.SimpleQueue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(case, report))
    child.start()
    child.join(MAX_SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
        return False, f"still running after {MAX_SECONDS} s"
    return (False, f"exit status {child.exitcode}") if report.empty() else report.get()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="duration, minutes")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the first case")
    parser.add_argument("--kills", type=int, default=0, help="run this number of kills and nothing else")
    args = parser.parse_args()
    outcomes: Counter[str] = Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data, whole = write_small_dataset(folder / "data"), folder / "whole"
        seconds = run_whole(data, whole)
        recording = data / "test" / "t0.flac"
        cases: dict[str, Callable[[np.random.Generator], str]] = {
            "audio": lambda rng: try_audio(folder, rng),
            "table": lambda rng: try_table(folder, rng),
            "model": lambda rng: try_model(folder, rng, whole, recording),
            "kill": lambda rng: try_kill(folder, rng, whole, data, seconds),
        }
        share = {"audio": 60, "table": 60, "model": 30, "kill": 1}
        end = time.monotonic() + 60 * args.minutes
        seed, n_killed = args.seed, 0
        while n_killed < args.kills if args.kills else time.monotonic() < end:
            for kind in ("kill",) if args.kills else cases:
                for _ in range(share[kind]):
                    seed += 1
                    rng = np.random.default_rng(seed)
                    if kind == "kill":
                        try:
                            ended, outcome = True, cases[kind](rng)
                        except (AssertionError, subprocess.CalledProcessError) as error:
                            ended, outcome = False, str(error)
                    else:
                        ended, outcome = isolated(partial(cases[kind], rng))
                    n_killed += outcome.endswith("killed")
                    if ended:
                        outcomes[f"{kind}: {outcome}"] += 1
                    else:
                        failures += 1
                        print(f"FAILED {kind}, --seed {seed - 1}: {outcome}", flush=True)
    for outcome, n in sorted(outcomes.items()):
        print(f"{n:6d} {outcome}")
    print(f"{sum(outcomes.values()) + failures} cases, {n_killed} kills, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
