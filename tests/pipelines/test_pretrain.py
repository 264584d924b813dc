"""The command pretrain.py, and the networks that start from its file."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.common.files import read_json
from features.frames.spectral import SpectralSettings
from features.frames.windows import WindowSettings
from pipelines import pretrain as pretrain_command
from tests.conftest import ROOT, error_message, run_command, write_small_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("pretrain") / "small", seconds=4.0)


def pretrain(data: Path, out: Path, *flags: str) -> subprocess.CompletedProcess:
    recordings = (data / "train", data / "test")
    return run_command("pretrain", *recordings, "--out", out, "--epochs", "2", "--jobs", "1", *flags)


@pytest.mark.parametrize(("model", "loss"), [("gru", "cola"), ("cnn", "triplets")])
def test_networks_start_from_the_encoder(data: Path, tmp_path: Path, model: str, loss: str) -> None:
    file = tmp_path / "encoder.pt"
    done = pretrain(data, file, "--model", model, "--loss", loss)
    assert done.returncode == 0, done.stderr
    assert f"{file}: encoder for python pipelines/{model}.py --pretrained {file}" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.pt"]
    flags = ("--data", data, "--folds", "2", "--epochs", "1", "--jobs", "1")
    scores = {}
    for name, extra in (("without", ()), ("with", ("--pretrained", file))):
        done = run_command(model, *flags, "--results", tmp_path / name, *extra)
        assert done.returncode == 0, done.stderr
        scores[name] = (tmp_path / name / model / "oof.npz").read_bytes()
    assert scores["with"] != scores["without"]
    assert read_json(tmp_path / "with" / model / "config.json")["pretrained"]
    assert read_json(tmp_path / "without" / model / "config.json")["pretrained"] is None
    other = {"gru": "cnn", "cnn": "gru"}[model]
    done = run_command(other, *flags, "--results", tmp_path / "other", "--pretrained", file)
    assert f"{file}: encoder of a " in error_message(done)
    done = run_command("learning_curve", other, "--data", data, "--results", tmp_path, "--pretrained", file)
    assert f"{file}: encoder of a " in done.stderr
    assert not (tmp_path / "learning_curve").exists()  # nothing was trained before
    predicted = ("predict", data / "test", "--model", tmp_path / "with" / model, "--out", tmp_path / "out")
    assert run_command(*predicted).returncode == 0


def test_killed_command_continues_to_the_same_file(data: Path, tmp_path: Path) -> None:
    flags = (str(data / "train"), "--epochs", "10", "--jobs", "1", "--out")
    command = [sys.executable, str(ROOT / "pipelines" / "pretrain.py"), *flags]
    assert run_command("pretrain", *flags, tmp_path / "whole.pt").returncode == 0
    killed, checkpoint = tmp_path / "killed.pt", tmp_path / "killed.pt.unfinished"
    with subprocess.Popen([*command, str(killed)], stderr=subprocess.DEVNULL) as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert checkpoint.exists()
    assert not killed.exists()
    done = run_command("pretrain", *flags, killed)
    assert done.returncode == 0, done.stderr
    assert "killed.pt: encoder for" in done.stdout
    assert killed.read_bytes() == (tmp_path / "whole.pt").read_bytes()
    assert not checkpoint.exists()


def test_recordings_that_cannot_be_read_are_left_out(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data / "train", tmp_path / "train")
    (folder / "damaged.wav").write_bytes(b"RIFF")
    done = run_command("pretrain", folder, "--out", tmp_path / "a.pt", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "left out: " in done.stderr
    done = run_command("pretrain", folder / "damaged.wav", "--out", tmp_path / "b.pt")
    assert done.returncode == 2
    assert "error: none of the recordings can be read" in done.stderr
    message = error_message(run_command("pretrain", folder, "--out", folder))
    assert f"{folder}: is a folder; give the name of a file with --out" in message


def test_long_recording_is_one_recording_with_each_window_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, settings, window = np.random.default_rng(0), SpectralSettings(), WindowSettings()
    soundfile.write(tmp_path / "long.wav", 0.1 * rng.standard_normal(13 * 16_000), 16_000)
    monkeypatch.setattr(pretrain_command, "SEGMENT", 5.0)
    found = pretrain_command.sequences(tmp_path / "long.wav", window, settings)
    assert isinstance(found, np.ndarray)
    # Segments of 0 to 5, 5 to 10 and 8 to 13 s; windows before 10 s are not repeated.
    assert found.shape == (9 + 9 + 5, 25, 64)


@pytest.mark.parametrize("flags", [("--window", "0.02"), ("--device", "tpu")])
def test_invalid_flags_are_errors_before_recordings_are_read(
    data: Path, tmp_path: Path, flags: tuple
) -> None:
    done = run_command("pretrain", data / "train", "--out", tmp_path / "a.pt", *flags)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
