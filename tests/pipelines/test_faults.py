"""Bad input, kills, full disks and hostile files, in small; `fuzz.py` goes on for as long as wanted."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from filelock import FileLock

from features.common.errors import UserError
from features.common.files import replacing, replacing_all
from features.data.audio import AudioError
from features.data.dataset import DatasetError, load_dataset
from features.frames.spectral import SpectralSettings
from features.frames.store import frames_of
from models.estimators.gru import GRUClassifier
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.metrics import lrap
from models.tuning import Task, tune
from pipelines import gbm
from pipelines.core.cli import training_parser
from pipelines.core.detector import Recogniser
from pipelines.core.failed_recordings import read_failed
from pipelines.core.runs import Scores, write_run
from pipelines.core.task import load_task
from tests import fuzz
from tests.conftest import ROOT, tone

SETTINGS = SpectralSettings()


@pytest.fixture(scope="module")
def data(trained: tuple[Path, Path]) -> Path:
    return trained[0]


@pytest.fixture(scope="module")
def whole(trained: tuple[Path, Path]) -> Path:
    """The results of commands that nothing befell."""
    return trained[1]


def task_args(data: Path, results: Path, *flags: str) -> Namespace:
    return training_parser("").parse_args(
        ["--data", str(data), "--results", str(results), "--folds", "3", *flags]
    )


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


# Audio


def silence(n: int, value: float = 0.0, channels: int = 1) -> np.ndarray:
    return np.full((n, channels), value, np.float32)


SOUNDS: dict[str, tuple[np.ndarray, int]] = {
    "all zeros": (silence(32_000), 32_000),
    "constant": (silence(32_000, 0.5), 32_000),
    "clipped": (np.sign(tone(500, 1, 32_000))[:, None], 32_000),
    "shorter than a window": (tone(500, 0.3, 32_000)[:, None], 32_000),
    "shorter than a frame": (tone(500, 0.003, 32_000)[:, None], 32_000),
    "one sample": (silence(1, 0.1), 48_000),
    "8 kHz": (tone(500, 1, 8_000)[:, None], 8_000),
    "192 kHz": (tone(500, 1, 192_000)[:, None], 192_000),
    "8 channels": (np.repeat(tone(500, 1, 48_000)[:, None], 8, axis=1), 48_000),
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_odd_audio_has_finite_frames(tmp_path: Path, kind: str) -> None:
    y, sr = SOUNDS[kind]
    soundfile.write(tmp_path / "x.wav", y, sr, subtype="FLOAT")
    frames = frames_of(tmp_path / "x.wav", SETTINGS)
    assert len(frames) == 1 + int(len(y) / sr * SETTINGS.frame_rate)
    for values in (frames.log_mel, frames.levels, frames.contrast):
        assert np.isfinite(values).all()


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    """The small data set with a training and a test recording that cannot be decoded."""
    root = shutil.copytree(data, tmp_path / "broken")
    (root / "train" / "a4.flac").write_bytes((root / "train" / "a4.flac").read_bytes()[:2000])
    (root / "test" / "t0.flac").write_text("recording_id,s0\n")
    return root


def test_a_run_goes_on_past_what_cannot_be_decoded(broken: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for pipeline in fuzz.FLAGS:
        done = subprocess.run(
            fuzz.call(pipeline, broken, results), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("2 recordings cannot be decoded and have no scores")
        assert "has the prior in place of scores for 1 recordings" in done.stderr
        oof, test = (Scores.load(results / pipeline / f"{split}.npz") for split in ("oof", "test"))
        assert list(oof.recording_id) == ["a0", "a1", "a2", "a3", "a5"]
        assert list(test.recording_id) == ["t1"]
        submission = pd.read_csv(results / pipeline / "submission.csv", index_col="recording_id")
        assert sorted(submission.index) == ["t0", "t1"]
        np.testing.assert_allclose(submission.loc["t0"], [0.4, 0.2, 0.4])  # of the five that are left
    listed = pd.read_csv(results / "failed_recordings.csv")
    assert listed[["recording_id", "split"]].to_numpy().tolist() == [["a4", "train"], ["t0", "test"]]
    assert listed["reason"].str.contains("cannot be decoded").all()

    shutil.copy(broken / "train" / "a1.flac", broken / "train" / "a4.flac")
    shutil.copy(broken / "train" / "a1.flac", broken / "test" / "t0.flac")
    load_task(task_args(broken, results))
    assert read_failed(results) == {"train": [], "test": []}


def test_strict_stops_at_the_first(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a4\.flac: cannot be decoded"):
        load_task(task_args(broken, tmp_path / "results", "--strict"))


def test_no_recording_at_all_is_an_error(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "deaf")
    for file in (root / "train").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match="of 6 recordings none with a TP box can be decoded"):
        load_task(task_args(root, tmp_path / "results"))


# Hostile bytes


@pytest.mark.parametrize("seed", range(40))
def test_mutated_audio_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    assert fuzz.try_audio(tmp_path, np.random.default_rng(seed)) in ("read", "refused")


def test_mutated_tables_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = {fuzz.try_table(tmp_path, np.random.default_rng(seed)) for seed in range(80)}
    assert outcomes == {"read", "refused"}


def test_mutated_models_are_read_or_refused(data: Path, whole: Path, tmp_path: Path) -> None:
    recording = data / "test" / "t0.flac"
    outcomes = {fuzz.try_model(tmp_path, np.random.default_rng(seed), whole, recording) for seed in range(25)}
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("s0.txt", "left_child=", "left_child=0 "),  # a circle
        ("s0.txt", "split_feature=", "split_feature=99999 "),
        ("s0.txt", "max_feature_idx=", "max_feature_idx=9"),
        ("model.json", '"n_features": ', '"n_features": 9'),
        ("model.json", '"n_species": 3', '"n_species": 2'),
        ("model.json", '"linear_share": 0.5', '"linear_share": 1.5'),
        ("config.json", '"species": [', '"species": ["another", '),
        ("config.json", '"features_version": ', '"features_version": 9'),
        ("config.json", '"n_mels": 64', '"n_mels": 32'),
    ],
)
def test_a_foreign_or_tampered_model_is_refused_by_name(
    whole: Path, tmp_path: Path, name: str, before: str, after: str
) -> None:
    folder = shutil.copytree(whole / "gbm", tmp_path / "gbm")
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))
    with pytest.raises(UserError, match=f"{folder}: is not what this version saves"):
        Recogniser.load(folder)


def test_a_pickle_is_not_run(whole: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    folder = shutil.copytree(whole / "gbm", tmp_path / "gbm")
    np.savez(folder / "descriptor.npz", bands=np.array([Trap()]))
    with pytest.raises(UserError, match="is not what this version saves"):
        Recogniser.load(folder)
    import torch

    torch.save(Trap(), tmp_path / "fold0.pt")
    with pytest.raises(UserError, match=r"fold0\.pt: holds no network"):
        GRUClassifier.load(tmp_path / "fold0.pt")
    assert not (tmp_path / "sprung").exists()


def test_no_code_unpickles_or_evaluates() -> None:
    forbidden = (
        "import pickle",
        "joblib.load",
        "allow_pickle=True",
        " eval(",
        " exec(",
        "weights_only=False",
    )
    for room in ("features", "models", "pipelines"):
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert not [word for word in forbidden if word in text], file
            assert text.count("torch.load(") == text.count("weights_only=True"), file
            assert text.count("np.load(") == text.count("allow_pickle=False"), file


def test_links_do_not_lead_out(data: Path, whole: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "linked")
    (root / "train" / "a5.flac").unlink()
    (root / "train" / "a5.flac").symlink_to(data / "train" / "a5.flac")
    with pytest.raises(UserError, match=r"a5\.flac: is a link out of"):
        load_dataset(root)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "gbm").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="gbm: is a link out of"):
        load_task(task_args(data, tmp_path / "results"))


# Kills


@pytest.mark.parametrize(("pipeline", "made"), [("gbm", "optuna.db"), ("gru", "gru/checkpoints.json")])
def test_a_killed_command_goes_on_to_the_same_end(
    data: Path, whole: Path, tmp_path: Path, pipeline: str, made: str
) -> None:
    results = tmp_path / "results"
    if pipeline == "gru":
        shutil.copytree(whole / "frames", results / "frames")

    def until_made(process: subprocess.Popen) -> None:
        while not (results / made).exists():
            assert process.poll() is None
            time.sleep(0.01)

    assert fuzz.kill_and_go_on(pipeline, data, results, until_made)
    expected, found = fuzz.contents(whole), fuzz.contents(results)
    assert {k for k in found if expected[k] != found[k]} == {"leaderboard.csv"}  # it lacks the others' rows


def test_an_interrupt_ends_in_one_line(data: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        fuzz.call("gbm", data, tmp_path / "results"), stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "results" / "optuna.db").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "interrupted; the same command goes on from what is done\n"


def test_a_folder_that_another_command_writes_to_is_left_alone(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    with FileLock(results / ".lock"), pytest.raises(UserError, match="another command writes there"):
        load_task(task_args(data, results))
    assert [file.name for file in results.iterdir()] in ([], [".lock"])


# Disks


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk none does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_earlier_results(data: Path, whole: Path, tmp_path: Path) -> None:
    results = shutil.copytree(whole, tmp_path / "results")
    dataset = load_dataset(data)
    before = fuzz.contents(results)
    oof, test = np.full((6, 3), 0.5), np.full((2, 3), 0.5)
    with (
        full_disk(300),
        pytest.raises(UserError, match=r"gbm.*cannot be written.*what was there is as it was"),
    ):
        write_run(results, "gbm", dataset, oof, test, np.zeros(6, int), {"oof": 0, "test": 0}, 0, {}, {})
    assert fuzz.contents(results) == before


def test_a_full_disk_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = subprocess.run(
        fuzz.call("gbm", data, tmp_path / "results"),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert "optuna.db: the study cannot be read or written" in refused(done)


def test_a_study_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database" * 100)
    nothing = Task([], np.zeros(0), np.zeros(0), np.zeros((0, 1)), lrap)
    with pytest.raises(UserError, match=r"optuna\.db: the study cannot be read .*not a database.*remove it"):
        tune(nothing, 1, 0, 1, tmp_path / "optuna.db", "study")


def test_a_results_folder_that_is_a_file_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="results: cannot be written"):
        load_task(task_args(data, tmp_path / "results"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_results_folder_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o500)
    with pytest.raises(UserError, match="results: cannot be written"):
        load_task(task_args(data, tmp_path / "results"))


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("a", "last", "other"):
        (folder / name).write_text("before")

    def write(then: Callable[[], None]) -> None:
        with replacing_all(folder, last="last") as new:
            (new / "a").write_text("after")
            (new / "last").write_text("after")
            then()

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(die)
    assert {file.read_text() for file in folder.iterdir()} == {"before"}
    write(lambda: None)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "a": "after",
        "last": "after",
        "other": "before",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"x\.csv: cannot be written"), replacing(tmp_path / "file" / "x.csv"):
        pass


# Numbers


def test_constant_features_and_one_positive_are_fitted() -> None:
    X = np.zeros((50, 4), np.float32)
    Y = np.full((50, 3), np.nan)
    Y[:, 0], Y[3, 1] = 0, 1  # a species that is nowhere, one that is once, one that is unknown
    P = OneVsRestGBM(n_estimators=5).fit(X, Y).predict_proba(X)
    assert np.isfinite(P).all()
    assert P[:, 1].min() > P[:, 0].max()


def test_a_loss_that_is_no_number_is_said() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(64, 10, 4)).astype(np.float32), rng.integers(0, 2, (64, 2)).astype(float)
    with pytest.raises(UserError, match=r"the network's loss is nan in epoch .*learning rate of 1e"):
        GRUClassifier(epochs=5, hidden_size=4, learning_rate=1e30).fit(X, Y)


def test_a_fold_without_a_species_is_scored(data: Path, tmp_path: Path) -> None:
    """Six recordings in six folds: whatever species a fold shows, the others show it once."""
    args = task_args(data, tmp_path / "results", "--folds", "6")
    task = load_task(args)
    assert len(set(task.fold)) == 6
    args.trials = 1
    gbm.main(args)
    scores = Scores.load(tmp_path / "results" / "gbm" / "oof.npz").scores
    assert np.isfinite(scores).all()
    assert json.loads((tmp_path / "results" / "gbm" / "metrics.json").read_text())["oof"]["lrap"] > 0
