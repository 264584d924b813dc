"""The commands end to end, in small, as a person calls them."""

import io
import json
import runpy
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
import pandas as pd
import pytest

from features.data.synthetic import SyntheticSettings, write_dataset
from models.metrics import lrap
from pipelines.core.runs import LIBRARIES, Scores
from tests.conftest import ROOT

SETTINGS = SyntheticSettings(n_train=32, n_test=8, duration=9.0, n_train_sites=8, n_test_sites=2)
PRIOR = ["--prior", "estimate"]
FLAGS = {"gbm": ["--trials", "2", "--folds", "3"], "gru": ["--epochs", "2", "--folds", "3"], "blend": PRIOR}


def called(script: str, *flags: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Run a command as a person calls it, but in this process, which has the libraries already."""
    arguments = [str(ROOT / "pipelines" / f"{script}.py"), *map(str, flags)]
    status = 0
    with (
        chdir(cwd),
        mock.patch.object(sys, "argv", arguments),
        redirect_stdout(io.StringIO()) as stdout,
        redirect_stderr(io.StringIO()) as stderr,
    ):
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


def command(pipeline: str, data: Path, results: Path, *flags: str, cwd: Path) -> subprocess.CompletedProcess:
    return called(pipeline, "--data", data, "--results", results, *flags, cwd=cwd)


def run_all(data: Path, results: Path, cwd: Path) -> None:
    """Run the pipelines in processes of their own, on two cores."""
    for pipeline, flags in FLAGS.items():
        extra = [] if pipeline == "blend" else ["--jobs", "2"]
        arguments = ["--data", str(data), "--results", str(results), *flags, *extra]
        script = [sys.executable, str(ROOT / "pipelines" / f"{pipeline}.py")]
        done = subprocess.run([*script, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def run_all_again(data: Path, results: Path, cwd: Path, jobs: int) -> None:
    """Run the pipelines in this process, which saves the start of three."""
    for pipeline, flags in FLAGS.items():
        extra = [] if pipeline == "blend" else ["--jobs", str(jobs)]
        done = command(pipeline, data, results, *flags, *extra, cwd=cwd)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "forest", 2, SETTINGS)


@pytest.fixture(scope="module")
def results(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "forest"
    run_all(data, folder, tmp_path_factory.mktemp("elsewhere"))
    return folder


def scores_of(results: Path) -> dict[str, bytes]:
    files = [results / model / f"{split}.npz" for model in FLAGS for split in ("oof", "test")]
    return {str(file.relative_to(results)): file.read_bytes() for file in files}


def n_trials(results: Path) -> dict[str, int]:
    storage = f"sqlite:///{results / 'optuna.db'}"
    return {study.study_name: study.n_trials for study in optuna.get_all_study_summaries(storage)}


def test_results_follow_the_contract(data: Path, results: Path) -> None:
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    expected = "model,split,n_recordings,lrap,lrap_low,lrap_high,lwlrap,macro_auc,macro_ap,seconds"
    assert list(leaderboard.columns) == expected.split(",")
    models = ["prior", "background", "gbm", "gru", "blend"]
    rows = list(zip(leaderboard["model"], leaderboard["split"], strict=True))
    expected_rows = [(model, split) for split in ("oof", "test") for model in models]
    assert rows == [*expected_rows, ("blend+prior", "test")]
    assert (leaderboard["lrap_low"] <= leaderboard["lrap"]).all()
    assert (leaderboard["lrap"] <= leaderboard["lrap_high"]).all()

    truth = pd.read_csv(data / "test_labels.csv", index_col="recording_id")
    for model in FLAGS:
        oof, test = (Scores.load(results / model / f"{split}.npz") for split in ("oof", "test"))
        assert oof.fold is not None
        assert set(oof.fold) == {0, 1, 2}
        assert test.fold is None
        for scores, n in ((oof, 32), (test, 8)):
            assert scores.scores.shape == (n, 24)
            assert scores.scores.min() >= 0
            assert scores.scores.max() <= 1
        submission = pd.read_csv(results / model / "submission.csv")
        assert list(submission.columns) == ["recording_id", *(f"s{k}" for k in range(24))]
        assert list(submission["recording_id"]) == list(truth.index)
        np.testing.assert_allclose(submission.iloc[:, 1:], test.scores, atol=1e-12)
        metrics = json.loads((results / model / "metrics.json").read_text())
        shown = leaderboard.query("model == @model and split == 'test'")["lrap"].item()
        assert metrics["test"]["lrap"] == pytest.approx(lrap(truth.to_numpy(float), test.scores))
        assert metrics["test"]["lrap"] == pytest.approx(shown, abs=1e-6)
        assert len(metrics["per_species"]) == 24
        config = json.loads((results / model / "config.json").read_text())
        assert config["dataset"] == "forest"
        assert set(LIBRARIES) <= set(config["versions"])
    prior = pd.read_csv(results / "blend" / "prior.csv")
    assert list(prior.columns) == ["species_id", "name", "prevalence"]
    assert prior["prevalence"].between(0, 1).all()
    at_prior = pd.read_csv(results / "blend" / "submission_prior.csv", index_col="recording_id")
    shown = leaderboard.query("model == 'blend+prior'")["lrap"].item()
    assert lrap(truth.to_numpy(float), at_prior.to_numpy()) == pytest.approx(shown, abs=1e-6)
    assert {file.name for file in (results / "figures").iterdir()} == {
        "leaderboard.png",
        "species.png",
        "weights.png",
    }


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_jobs(
    data: Path, results: Path, tmp_path: Path
) -> None:
    run_all_again(data, tmp_path / "forest", tmp_path, jobs=1)
    assert scores_of(tmp_path / "forest") == scores_of(results)


def test_a_second_run_changes_nothing(data: Path, results: Path, tmp_path: Path) -> None:
    scores, trials = scores_of(results), n_trials(results)
    leaderboard = pd.read_csv(results / "leaderboard.csv").drop(columns="seconds")
    run_all_again(data, results, tmp_path, jobs=2)
    assert scores_of(results) == scores
    assert n_trials(results) == trials
    assert list(trials.values()) == [2]
    pd.testing.assert_frame_equal(
        pd.read_csv(results / "leaderboard.csv").drop(columns="seconds"), leaderboard
    )


def test_a_killed_gru_goes_on_with_the_folds_that_are_missing(
    data: Path, results: Path, tmp_path: Path
) -> None:
    again = tmp_path / "forest"
    shutil.copytree(results, again)
    (again / "gru" / "fold1.pt").unlink()
    (again / "gru" / "oof.npz").unlink()
    kept = (again / "gru" / "fold0.pt").stat().st_mtime_ns
    done = command("gru", data, again, *FLAGS["gru"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (again / "gru" / "fold0.pt").stat().st_mtime_ns == kept
    assert scores_of(again) == scores_of(results)


def test_checkpoints_of_other_settings_are_not_reused(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "forest"
    shutil.copytree(results, again)
    done = command("gru", data, again, *FLAGS["gru"], "--cell", "rnn", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((again / "gru" / "config.json").read_text())["params"]["cell"] == "rnn"
    assert (again / "gru" / "oof.npz").read_bytes() != (results / "gru" / "oof.npz").read_bytes()


def test_a_changed_member_takes_the_blend_off_the_leaderboard(
    data: Path, results: Path, tmp_path: Path
) -> None:
    again = tmp_path / "forest"
    shutil.copytree(results, again)
    done = command("gru", data, again, *FLAGS["gru"], "--seed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(again / "leaderboard.csv")["model"]) == ["prior", "background", "gbm", "gru"] * 2


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("member", ["gbm", "gru"])
def test_blend_without_a_member_names_its_command(
    data: Path, results: Path, tmp_path: Path, member: str
) -> None:
    again = tmp_path / "forest"
    shutil.copytree(results, again)
    shutil.rmtree(again / member)
    message = refused(command("blend", data, again, cwd=tmp_path))
    assert f"run 'python pipelines/{member}.py'" in message


@pytest.mark.parametrize("what", ["recordings", "species", "folds"])
def test_blend_refuses_runs_that_differ(data: Path, results: Path, tmp_path: Path, what: str) -> None:
    again = tmp_path / "forest"
    shutil.copytree(results, again)
    file = again / "gru" / "oof.npz"
    arrays = dict(vars(Scores.load(file)))
    key = {"recordings": "recording_id", "species": "species", "folds": "fold"}[what]
    arrays[key] = np.roll(arrays[key], 1)
    Scores(**arrays).save(file)
    message = refused(command("blend", data, again, cwd=tmp_path))
    assert what in message
    assert "gru" in message


def test_a_dataset_of_nothing_but_training_boxes_runs(small_dataset: Path, tmp_path: Path) -> None:
    for file in small_dataset.glob("*.csv"):
        if file.name != "train_tp.csv":
            file.unlink()
    shutil.rmtree(small_dataset / "test")
    results = tmp_path / "results"
    for pipeline, flags in FLAGS.items():
        done = command(pipeline, small_dataset, results, *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    assert list(leaderboard["split"]) == ["oof"] * 5
    assert not (results / "blend" / "submission.csv").exists()


def test_real_rfcx_recordings_run(shared_data: Path, tmp_path: Path) -> None:
    """29 recordings of a minute, at 48 and at 32 kHz, of 24 species of which 14 have a TP box."""
    printed = ""
    for pipeline, flags in FLAGS.items():
        done = command(pipeline, shared_data / "rfcx-sample", tmp_path / "rfcx", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "no TP box shows 10 species" in printed
    assert len(pd.read_csv(tmp_path / "rfcx" / "leaderboard.csv")) == 5


def test_real_groups_stay_whole(shared_data: Path) -> None:
    from features.data.dataset import load_dataset
    from models.folds import make_folds
    from pipelines.core.task import presence

    dataset = load_dataset(shared_data / "nips4b")
    fold = make_folds(presence(dataset), dataset.groups, 5, 0)
    for group in np.unique(dataset.groups):
        assert len(set(fold[dataset.groups == group])) == 1
