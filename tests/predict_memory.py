"""Compare the peak memory of `predict` for few and many recordings: python tests/predict_memory.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import os
import tempfile

import soundfile

from pipelines.benchmarks.timing import in_new_process
from tests.conftest import run_command, tone, train, write_small_dataset

N_FOLDERS = 20


def write_recordings(folder: Path, n: int) -> Path:
    """Write recordings of 2 s in several folders; they are links to one file, to save disk space."""
    for k in range(N_FOLDERS):
        (folder / f"site{k}").mkdir(parents=True)
    original = folder.parent / "original.wav"
    soundfile.write(original, tone(1600, 2, 16_000), 16_000)
    for k in range(n):
        os.link(original, folder / f"site{k % N_FOLDERS}" / f"{k:06d}.wav")
    return folder


def predict(recordings: Path, model: Path, out: Path) -> None:
    """Run `predict` in this process."""
    done = run_command("predict", recordings, "--model", model, "--out", out, "--prior", "estimate")
    assert done.returncode == 0, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--few", type=int, default=2_000, help="number of recordings of the short run")
    parser.add_argument("--many", type=int, default=20_000, help="number of recordings of the long run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_small_dataset(folder / "data")
        train(data, folder / "results")
        peak = {}
        for n in (args.few, args.many):
            recordings = write_recordings(folder / f"n{n}" / "season", n)
            model, out = folder / "results" / "gbm", folder / f"n{n}" / "out"
            _, peak[n] = in_new_process(predict, recordings, model, out)
            print(f"{n} recordings: {peak[n]:.0f} MiB", flush=True)
        print(f"ratio {peak[args.many] / peak[args.few]:.3f}")


if __name__ == "__main__":
    main()
