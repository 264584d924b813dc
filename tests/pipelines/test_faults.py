"""Invalid input, killed commands, full disks and tampered files; `fuzz.py` tests more such cases."""

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
from features.common.files import replacing, replacing_folder
from features.data.audio import AudioError
from features.data.dataset import load_dataset
from features.data.tables import DatasetError
from features.frames.spectral import SpectralSettings
from features.frames.store import frames_of
from models.estimators.gru import GRUClassifier
from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.metrics import lrap
from models.study import SearchSpace, Study, database_url
from models.tuning import CrossValidation, tune
from pipelines.core.cli import training_parser
from pipelines.core.detector import Detector
from pipelines.core.failed_recordings import read_failed
from pipelines.core.run_config import MEMBER
from pipelines.core.runs import NewRun, Scores, write_run
from pipelines.core.task import load_task
from pipelines.members.gbm import default_parameters, make_model
from tests.conftest import FLAGS, ROOT, error_message, run_command, sign, tone
from tests.fuzzing.audio import try_audio, try_container
from tests.fuzzing.commands import call, contents
from tests.fuzzing.models import try_array, try_config, try_model, try_swap
from tests.fuzzing.tables import try_import, try_names, try_table

SETTINGS = SpectralSettings()


@pytest.fixture(scope="module")
def data(trained: tuple[Path, Path]) -> Path:
    return trained[0]


@pytest.fixture(scope="module")
def whole(trained: tuple[Path, Path]) -> Path:
    """Return the results of commands that were not interrupted."""
    return trained[1]


def task_args(data: Path, results: Path, *flags: str) -> Namespace:
    return training_parser("").parse_args(
        ["--data", str(data), "--results", str(results), "--folds", "3", *flags]
    )


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
def test_unusual_audio_has_finite_frames(tmp_path: Path, kind: str) -> None:
    y, sr = SOUNDS[kind]
    soundfile.write(tmp_path / "x.wav", y, sr, subtype="FLOAT")
    frames = frames_of(tmp_path / "x.wav", SETTINGS)
    assert len(frames) == 1 + int(len(y) / sr * SETTINGS.frame_rate)
    for values in (frames.log_mel, frames.levels, frames.contrast):
        assert np.isfinite(values).all()


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    """Return the small data set with a training and a test recording that cannot be decoded."""
    root = shutil.copytree(data, tmp_path / "broken")
    (root / "train" / "a4.flac").write_bytes((root / "train" / "a4.flac").read_bytes()[:2000])
    (root / "test" / "t0.flac").write_text("recording_id,s0\n")
    return root


def test_recordings_that_cannot_be_decoded_are_left_out(data: Path, broken: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for pipeline, flags in FLAGS.items():
        done = run_command(pipeline, "--data", broken, "--results", results, *flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("2 recordings could not be read and have no scores")
        assert "has the prior instead of scores for 1 recordings" in done.stderr
        oof, test = (Scores.load(results / pipeline / f"{split}.npz") for split in ("oof", "test"))
        assert list(oof.recording_id) == ["a0", "a1", "a2", "a3", "a5"]
        assert list(test.recording_id) == ["t1"]
        submission = pd.read_csv(results / pipeline / "submission.csv", index_col="recording_id")
        assert sorted(submission.index) == ["t0", "t1"]
        np.testing.assert_allclose(submission.loc["t0"], [0.4, 0.2, 0.4])  # shares of the five decodable ones
    listed = pd.read_csv(results / "failed_recordings.csv")
    assert listed[["recording_id", "split"]].to_numpy().tolist() == [["a4", "train"], ["t0", "test"]]
    assert listed["reason"].str.contains("cannot be decoded").all()

    shutil.copy(broken / "train" / "a1.flac", broken / "train" / "a4.flac")
    shutil.copy(data / "test" / "t0.flac", broken / "test" / "t0.flac")
    load_task(task_args(broken, results))
    assert read_failed(results) == {"train": [], "test": []}


def test_strict_stops_at_the_first_undecodable_recording(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a4\.flac: cannot be decoded"):
        load_task(task_args(broken, tmp_path / "results", "--strict"))


def test_no_decodable_recording_is_an_error(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "undecodable")
    for file in (root / "train").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no recording with a TP box can be decoded \(of 6 "):
        load_task(task_args(root, tmp_path / "results"))


# Damaged and tampered files


@pytest.mark.parametrize(
    ("case", "n"), [(try_audio, 40), (try_container, 40), (try_table, 40), (try_names, 8), (try_import, 20)]
)
def test_hostile_input_is_read_or_rejected(
    tmp_path: Path, case: Callable[[Path, np.random.Generator], str], n: int
) -> None:
    outcomes = {case(tmp_path, np.random.default_rng(seed)) for seed in range(n)}
    assert {"read", "rejected"} <= outcomes <= {"read", "rejected", "read both"}


@pytest.mark.parametrize(("case", "n"), [(try_model, 15), (try_config, 20), (try_array, 15), (try_swap, 3)])
def test_changed_models_are_read_or_rejected(
    data: Path, whole: Path, tmp_path: Path, case: Callable[..., str], n: int
) -> None:
    recording = data / "test" / "t0.flac"
    outcomes = {case(tmp_path, np.random.default_rng(seed), whole, recording) for seed in range(n)}
    assert "rejected" in outcomes
    assert outcomes <= {"read", "rejected"}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("trees_s0.txt", "left_child=", "left_child=0 "),  # a cycle
        ("trees_s0.txt", "split_feature=", "split_feature=99999 "),
        ("trees_s0.txt", "max_feature_idx=", "max_feature_idx=9"),
        ("trees.json", '"n_features": ', '"n_features": 9'),
        ("trees.json", '"n_species": 3', '"n_species": 2'),
        ("trees.json", '"num_leaves": ', '"other_parameter": '),
        ("config.json", '"columns": [', '"columns": ["another", '),
        ("config.json", '"model": "gbm"', '"model": "another"'),
        ("config.json", '"species": [', '"species": ["another", '),
        ("config.json", '"features_version": ', '"features_version": 9'),
        ("config.json", '"n_mels": 64', '"n_mels": 32'),
    ],
)
def test_tampered_model_is_rejected(whole: Path, tmp_path: Path, name: str, before: str, after: str) -> None:
    folder = shutil.copytree(whole / "gbm", tmp_path / "gbm")
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))
    with pytest.raises(UserError, match=rf"{folder}: not a valid run of this version"):
        Detector.load(folder)
    sign(folder)  # without it, the manifest would be enough to reject most of these files
    with pytest.raises(UserError, match=f"{folder}: not a valid run of this version .(?!.*has changed)"):
        Detector.load(folder)


def test_pickled_object_is_not_loaded(whole: Path, tmp_path: Path) -> None:
    class Pickled:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'loaded'}",)

    folder = shutil.copytree(whole / "gbm", tmp_path / "gbm")
    np.savez(folder / "species_bands.npz", bands=np.array([Pickled()]))
    with pytest.raises(UserError, match="not a valid run of this version"):
        Detector.load(folder)
    import torch

    torch.save(Pickled(), tmp_path / "fold0.pt")
    with pytest.raises(UserError, match=r"fold0\.pt: not a valid network"):
        GRUClassifier.load(tmp_path / "fold0.pt")
    assert not (tmp_path / "loaded").exists()


def test_code_neither_unpickles_nor_evaluates() -> None:
    forbidden = (
        "import pickle",
        "joblib.load",
        "allow_pickle=True",
        " eval(",
        " exec(",
        "weights_only=False",
    )
    for package in ("features", "models", "pipelines"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert not [word for word in forbidden if word in text], file
            assert text.count("torch.load(") == text.count("weights_only=True"), file
            n_arrays = text.count("np.load(") + text.count("np.save(")
            assert n_arrays == text.count("allow_pickle=False"), file


def test_links_to_other_folders_are_rejected(data: Path, whole: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "linked")
    (root / "train" / "a5.flac").unlink()
    (root / "train" / "a5.flac").symlink_to(data / "train" / "a5.flac")
    with pytest.raises(UserError, match=r"a5\.flac: links to .*, outside the folder"):
        load_dataset(root)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "gbm").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="gbm: links to a file outside"):
        load_task(task_args(data, tmp_path / "results"))


# Killed commands


@pytest.mark.parametrize(
    ("pipeline", "made"), [("gbm", "optuna.db"), ("gru", "checkpoints/gru/settings.json")]
)
def test_killed_command_that_is_repeated_has_the_same_results(
    data: Path, whole: Path, tmp_path: Path, pipeline: str, made: str
) -> None:
    results = tmp_path / "results"
    if pipeline == "gru":
        shutil.copytree(whole / "frames", results / "frames")

    process = subprocess.Popen(call(pipeline, data, results), stdout=subprocess.DEVNULL)
    while not (results / made).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = run_command(pipeline, "--data", data, "--results", results, *FLAGS[pipeline])
    assert done.returncode == 0, done.stderr
    expected, found = contents(whole), contents(results)
    assert {k for k in found if expected[k] != found[k]} == {
        "leaderboard.csv",
        "history.csv",
    }  # of one member


def test_interrupted_command_prints_one_line(data: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(call("gbm", data, tmp_path / "results"), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "results" / "optuna.db").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "interrupted; run the same command again to continue\n"


def test_results_folder_in_use_is_rejected(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    with FileLock(results / ".lock"), pytest.raises(UserError, match="another command is writing to this"):
        load_task(task_args(data, results))
    assert [file.name for file in results.iterdir()] in ([], [".lock"])


# Full and read-only disks


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Limit the size of files, which has the same effect as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_earlier_results_unchanged(data: Path, whole: Path, tmp_path: Path) -> None:
    results = shutil.copytree(whole, tmp_path / "results")
    dataset = load_dataset(data)
    before = contents(results)
    run = NewRun(
        name="gbm",
        kind=MEMBER,
        oof=np.full((6, 3), 0.5),
        test=np.full((2, 3), 0.5),
        fold=np.zeros(6, int),
        holdout=np.ones(6, bool),
        seconds={"oof": 0, "test": 0},
        seed=0,
    )
    with (
        full_disk(300),
        pytest.raises(UserError, match=r"gbm.*cannot be written.*existing files are unchanged"),
    ):
        write_run(results, dataset, run)
    assert contents(results) == before


def test_full_disk_is_reported_in_one_line(data: Path, tmp_path: Path) -> None:
    with full_disk(60_000):
        done = run_command("gbm", "--data", data, "--results", tmp_path / "results", *FLAGS["gbm"])
    assert "optuna.db: the study cannot be read or written" in error_message(done)


def test_file_that_is_not_a_study_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database" * 100)
    validation = CrossValidation([], np.zeros(0), np.zeros(0), np.zeros((0, 1)), lrap)
    with pytest.raises(
        UserError, match=r"optuna\.db: the study cannot be read .*not a database.*remove the file"
    ):
        tune(
            lambda parameters: OneVsRestGBM(**parameters),
            validation,
            space=SearchSpace({}, {}),
            study=Study(database_url(tmp_path / "optuna.db"), "study", n_trials=1, seed=0),
        )


def test_results_folder_that_is_a_file_is_rejected(data: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="results: cannot be written"):
        load_task(task_args(data, tmp_path / "results"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write to a read-only folder")
def test_read_only_results_folder_is_rejected(data: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir(mode=0o500)
    with pytest.raises(UserError, match="results: cannot be written"):
        load_task(task_args(data, tmp_path / "results"))


def test_files_of_a_folder_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("a", "last", "outdated"):
        (folder / name).write_text("before")

    def write(then: Callable[[], None]) -> None:
        with replacing_folder(folder) as new:
            (new / "a").write_text("after")
            (new / "last").write_text("after")
            then()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(interrupt)
    assert {file.read_text() for file in folder.iterdir()} == {"before"}
    write(lambda: None)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "a": "after",
        "last": "after",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_file_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"x\.csv: cannot be written"), replacing(tmp_path / "file" / "x.csv"):
        pass


# Unusual numbers


@pytest.mark.parametrize(
    "model",
    [
        OneVsRestGBM(n_estimators=5),
        make_model(default_parameters() | {"n_estimators": 5}, seed=0, n_jobs=1),
    ],
    ids=["trees", "mean"],
)
def test_constant_features_and_one_positive_are_fitted(model: OneVsRestGBM | LogOddsMean) -> None:
    X = np.zeros((50, 4), np.float32)
    Y = np.full((50, 3), np.nan)
    Y[:, 0], Y[3, 1] = 0, 1  # species 0 has no positive, species 1 has one, species 2 has no known label
    P = model.fit(X, Y).predict_proba(X)
    assert np.isfinite(P).all()
    assert P[:, 1].min() > P[:, 0].max()


def test_loss_that_is_not_a_number_is_an_error() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(64, 10, 4)).astype(np.float32), rng.integers(0, 2, (64, 2)).astype(float)
    with pytest.raises(UserError, match=r"the loss is nan in epoch .*learning rate below 1e"):
        GRUClassifier(epochs=5, hidden_size=4, learning_rate=1e30).fit(X, Y)
