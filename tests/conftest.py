"""Fixtures and helper functions of the tests: synthesised recordings, small data sets, and commands.

None of them needs a network.
"""

import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import soundfile
from filelock import FileLock

from features.data.audio import Recording
from features.frames.spectral import Spectra, SpectralSettings, compute_frames
from pipelines.core.manifest import Manifest

os.environ.setdefault("TQDM_DISABLE", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
FLAGS = {
    "gbm": ["--trials", "2", "--folds", "3", "--jobs", "1"],
    "gru": ["--epochs", "2", "--folds", "3", "--jobs", "1"],
    "blend": [],
}
"""The training commands and their flags in most tests. One job starts no further process."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real recordings; tests that need it are skipped if it does not exist."""
    if not SHARED.is_dir():
        pytest.skip(f"no real recordings: {SHARED} does not exist")
    return SHARED


def load(path: Path) -> tuple[np.ndarray, int]:
    """Return the samples of an audio file in one array, and its sample rate."""
    recording = Recording(path)
    return np.concatenate(list(recording.blocks())), recording.sr


def whole_spectra(blocks: Iterable[np.ndarray], sr: int, settings: SpectralSettings) -> Spectra:
    """Return what `compute_frames` yields, in one array each."""
    return Spectra(*map(np.concatenate, zip(*compute_frames(blocks, sr, settings), strict=True)))


def tone(frequency: float, seconds: float, sr: int, seed: int = 0) -> np.ndarray:
    """Return a tone with faint noise."""
    t = np.arange(int(seconds * sr)) / sr
    noise = 1e-3 * np.random.default_rng(seed).standard_normal(len(t))
    return 0.3 * np.sin(2 * np.pi * frequency * t) + noise


def forget_length(path: Path) -> None:
    """Set the number of samples and the MD5 in the header of a FLAC file to 0, as if it had been streamed."""
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:42] = bytes(20)
    path.write_bytes(content)


@pytest.fixture
def small_dataset(tmp_path: Path) -> Path:
    """Return a small data set that the test may change."""
    return write_small_dataset(tmp_path / "small")


def write_small_dataset(root: Path, seconds: float = 2.0) -> Path:
    """Write a valid data set with all tables: 6 training and 2 test recordings, 3 species.

    Parameters
    ----------
    seconds : duration of each recording.
    """
    ids = {"train": [f"a{k}" for k in range(6)], "test": ["t0", "t1"]}
    for split, names in ids.items():
        (root / split).mkdir(parents=True)
        for k, name in enumerate(names):
            y = tone(800 * (k % 3 + 1), seconds, 16_000, seed=k + 10 * (split == "test"))
            soundfile.write(root / split / f"{name}.flac", y, 16_000)
    header = ["recording_id", "species_id", "songtype_id", "t_min", "f_min", "t_max", "f_max"]
    tp = [(f"a{k}", k % 3, 1, 0.2, 500.0, 1.1, 3000.0) for k in range(6)]
    fp = [(f"a{k}", (k + 1) % 3, 1, 0.5, 500.0, 1.5, 3000.0) for k in range(6)]
    pd.DataFrame(tp, columns=header).to_csv(root / "train_tp.csv", index=False)
    pd.DataFrame(fp, columns=header).to_csv(root / "train_fp.csv", index=False)
    scores = pd.DataFrame({"recording_id": ids["test"], "s0": [0, 0], "s1": [0, 0], "s2": [0, 0]})
    scores.to_csv(root / "sample_submission.csv", index=False)
    scores.assign(s0=[1, 0], s1=[0, 1]).to_csv(root / "test_labels.csv", index=False)
    truth = pd.DataFrame(np.eye(3, dtype=int)[[0, 1, 2, 0, 1, 2]], columns=["s0", "s1", "s2"])
    truth.insert(0, "recording_id", ids["train"])
    truth.to_csv(root / "train_labels.csv", index=False)
    pd.DataFrame({"species_id": [0, 1, 2], "name": ["coqui", "owl", "frog"]}).to_csv(
        root / "species.csv", index=False
    )
    pd.DataFrame({"recording_id": ids["train"], "group": list("uvwxyz")}).to_csv(
        root / "groups.csv", index=False
    )
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a small data set and the results of gbm, gru and blend; tests must not change the files.

    The processes of pytest-xdist share them.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "trained"
    with FileLock(shared / "trained.lock"):
        if not folder.exists():
            write_small_dataset(folder / "small")
            train(folder / "small", folder / "whole")
    return folder / "small", folder / "whole"


def train(data: Path, results: Path) -> None:
    """Run gbm, gru and blend in this process."""
    for command, flags in FLAGS.items():
        done = run_command(command, "--data", data, "--results", results, *flags)
        assert done.returncode == 0, done.stderr


def run_command(name: str, *flags: str | Path) -> subprocess.CompletedProcess:
    """Run a command in this process, where the libraries are already imported.

    Parameters
    ----------
    name : name of the script in pipelines/, without suffix.
    """
    arguments = [str(ROOT / "pipelines" / f"{name}.py"), *map(str, flags)]
    status = 0
    with (
        mock.patch.object(sys, "argv", arguments),
        redirect_stdout(io.StringIO()) as stdout,
        redirect_stderr(io.StringIO()) as stderr,
    ):
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


def read_scores(out: Path) -> pd.DataFrame:
    """Return the scores that `predict` has written, indexed by recording id, with one column per species."""
    table = pd.read_csv(out / "scores.csv", index_col="recording_id", dtype={"site": str, "time": str})
    return table.drop(columns=["site", "time", "t_min", "t_max"])


def error_message(done: subprocess.CompletedProcess) -> str:
    """Return the error message of a command, which must be one line with exit status 2."""
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def sign(folder: Path, data: Mapping[str, str] | None = None) -> None:
    """Make the manifest of a run list its files as they are now, as somebody with bad intentions could.

    Parameters
    ----------
    data : identity of the data that it then claims to be trained on; unchanged by default.
    """
    Manifest.of(folder, data or Manifest.load(folder).data).save(folder)


def sign_all(results: Path, data: Mapping[str, str] | None = None) -> None:
    """Call `sign` for all runs of a results folder, and make its blend list its members as they are now."""
    members = [path.parent for path in results.glob("*/manifest.json") if path.parent.name != "blend"]
    for member in members:
        sign(member, data)
    blend = results / "blend"
    if not blend.exists():
        return
    with suppress(ValueError, LookupError, TypeError, AttributeError):  # if a test has damaged it
        config = json.loads((blend / "config.json").read_text(encoding="utf-8"))
        for name, member in config["members"].items():
            member["id"] = Manifest.load(results / name).id
        (blend / "config.json").write_text(json.dumps(config), encoding="utf-8")
    sign(blend, data)
