"""Kill `predict` at random moments and compare its files with an unkilled run: python tests/kill_predict.py.

`tests/pipelines/test_resume.py` does the same with a few kills.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import signal
import subprocess
import tempfile
import time

import numpy as np
import soundfile

from tests.conftest import ROOT, tone, train, write_small_dataset

N_JOBS = 2
# Runs predict with its flags, and appends a line to a log whenever the scoring of a recording begins.
LOGGED = f"""
import sys, runpy
sys.path.insert(0, {str(ROOT)!r})
from pipelines.core.detector import Detector
log, score_file = open(sys.argv.pop(1), "ab", buffering=0), Detector.score_file
def logged(self, path, external=None):
    log.write((str(path) + "\\n").encode())
    return score_file(self, path, external)
Detector.score_file = logged
sys.argv[0] = {str(ROOT / "pipelines" / "predict.py")!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_recordings(folder: Path, n: int) -> Path:
    """Write recordings of different lengths in two site folders; one of them is damaged."""
    for k in range(n):
        path = folder / "ab"[k % 2] / f"2024031{k % 5}_{k:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(800 * (1 + k % 3), 1 + k % 4, 16_000, seed=k), 16_000)
    (folder / "a" / "damaged.wav").write_bytes(b"RIFF")
    return folder


def start(log: Path, *flags: str | Path) -> subprocess.Popen:
    """Start `predict` with the given flags."""
    command = [sys.executable, "-c", LOGGED, str(log), *map(str, flags), "--jobs", str(N_JOBS)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def n_lines(log: Path) -> int:
    """Return the number of recordings whose scoring has begun."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_predict(recordings: Path, model: Path, out: Path, log: Path, n_kills: int) -> int:
    """Kill `predict` repeatedly, then let it end; return how often it was killed before its end.

    It is killed up to 0.3 s after it has begun to score another recording, every other time by Ctrl-C.
    """
    flags = (recordings, "--model", model, "--out", out, "--prior", "estimate", "--per-recording")
    rng = np.random.default_rng(0)
    n_killed = 0
    for k in range(n_kills):
        before, process = n_lines(log), start(log, *flags)
        while process.poll() is None and n_lines(log) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        running = process.poll() is None
        n_killed += running
        process.send_signal(signal.SIGINT if k % 2 else signal.SIGKILL)
        _, stderr = process.communicate()
        if running and k % 2:
            assert process.returncode == 130, stderr.decode()
            assert stderr.endswith(b"interrupted; run the same command again to continue\n"), stderr.decode()
    process = start(log, *flags)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    return n_killed


def files(out: Path) -> dict[str, bytes]:
    """Return the contents of all files that `predict` writes for its user."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and not file.name.startswith((".", "predictions.db"))
    }


def compare(folder: Path, model: Path, n_recordings: int, n_kills: int) -> str:
    """Compare a run that is killed with one that is not; return a sentence with the counts."""
    recordings = write_recordings(folder / "season", n_recordings)
    kill_predict(recordings, model, folder / "whole", folder / "whole.log", 0)
    n_killed = kill_predict(recordings, model, folder / "killed", folder / "killed.log", n_kills)
    expected, found = files(folder / "whole"), files(folder / "killed")
    assert len(expected) > 5
    different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    assert not different, different
    n_scored = n_lines(folder / "killed.log")
    assert n_lines(folder / "whole.log") == n_recordings + 1
    # The damaged recording has no scores, so every call tries it again.
    allowed = n_recordings + 1 + n_killed * N_JOBS + n_killed
    assert n_scored <= allowed, (n_scored, allowed)
    return f"{n_killed} kills, {n_scored} recordings scored of {n_recordings + 1}, {len(found)} equal files"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30, help="number of kills")
    parser.add_argument("--recordings", type=int, default=300, help="number of recordings")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_small_dataset(folder / "data")
        train(data, folder / "results")
        print(compare(folder, folder / "results" / "blend", args.recordings, args.kills))


if __name__ == "__main__":
    main()
