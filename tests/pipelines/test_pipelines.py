"""The training commands end to end on a small data set, run as a user runs them."""

import json
import shutil
import subprocess
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from features.data.dataset import load_dataset
from models.folds import make_folds
from models.metrics import lrap
from pipelines.core.detector import Detector
from pipelines.core.runs import LIBRARIES, RunError, Scores, read_run
from pipelines.core.truth import presence
from tests.conftest import FLAGS, error_message, run_command, sign, train, write_small_dataset


def command(pipeline: str, data: Path, results: Path, *flags: str | Path) -> subprocess.CompletedProcess:
    return run_command(pipeline, "--data", data, "--results", results, *flags)


@pytest.fixture(scope="module")
def data(trained: tuple[Path, Path]) -> Path:
    return trained[0]


@pytest.fixture(scope="module")
def results(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of gbm, gru and blend, with the prior estimated."""
    data, whole = trained
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("results") / "small")
    done = command("blend", data, folder, "--prior", "estimate")
    assert done.returncode == 0, done.stderr
    return folder


def scores_of(results: Path) -> dict[str, bytes]:
    files = [results / model / f"{split}.npz" for model in FLAGS for split in ("oof", "test")]
    return {str(file.relative_to(results)): file.read_bytes() for file in files}


def n_trials(results: Path) -> dict[str, int]:
    storage = f"sqlite:///{results / 'optuna.db'}"
    return {study.study_name: study.n_trials for study in optuna.get_all_study_summaries(storage)}


def test_results_have_the_documented_layout(data: Path, results: Path) -> None:
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    expected = "model,split,n_recordings,lrap,lrap_low,lrap_high,lwlrap,macro_auc,macro_ap,seconds"
    assert list(leaderboard.columns) == expected.split(",")
    models = ["prior", "background", *FLAGS]
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
        for scores, n in ((oof, 6), (test, 2)):
            assert scores.scores.shape == (n, 3)
            assert scores.scores.min() >= 0
            assert scores.scores.max() <= 1
        submission = pd.read_csv(results / model / "submission.csv")
        assert list(submission.columns) == ["recording_id", *(f"s{k}" for k in range(3))]
        assert list(submission["recording_id"]) == list(truth.index)
        np.testing.assert_allclose(submission.iloc[:, 1:], test.scores, atol=1e-12)
        metrics = json.loads((results / model / "metrics.json").read_text())
        shown = leaderboard.query("model == @model and split == 'test'")["lrap"].item()
        assert metrics["test"]["lrap"] == pytest.approx(lrap(truth.to_numpy(float), test.scores))
        assert metrics["test"]["lrap"] == pytest.approx(shown, abs=1e-6)
        assert len(metrics["per_species"]) == 3
        config = json.loads((results / model / "config.json").read_text())
        assert config["dataset"] == "small"
        assert set(LIBRARIES) <= set(config["versions"])
    prior = pd.read_csv(results / "blend" / "prior.csv")
    assert list(prior.columns) == ["species", "prevalence"]
    assert prior["prevalence"].between(0, 1).all()
    at_prior = pd.read_csv(results / "blend" / "submission_prior.csv", index_col="recording_id")
    shown = leaderboard.query("model == 'blend+prior'")["lrap"].item()
    assert lrap(truth.to_numpy(float), at_prior.to_numpy()) == pytest.approx(shown, abs=1e-6)
    assert {file.name for file in (results / "figures").iterdir()} == {
        "leaderboard.png",
        "species.png",
        "weights.png",
    }


def test_scores_do_not_depend_on_jobs_or_the_working_directory(tmp_path: Path) -> None:
    """Recordings of 9 s have so many windows that threads of libraries could change the last bits of sums."""
    write_small_dataset(tmp_path / "data", seconds=9.0)
    for jobs in ("1", "2"):
        (tmp_path / jobs).mkdir()
        with chdir(tmp_path / jobs), threadpool_limits(2):
            for pipeline in FLAGS:
                flags = [] if pipeline == "blend" else ["--jobs", jobs, "--folds", "2"]
                extra = {"gbm": ["--trials", "0"], "gru": ["--epochs", "1"]}.get(pipeline, [])
                done = command(pipeline, Path("../data"), Path("results"), *flags, *extra)
                assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path / "1" / "results") == scores_of(tmp_path / "2" / "results")
    assert not (tmp_path / "1" / "results" / "optuna.db").exists()  # without trials, there is no study


def test_second_run_changes_nothing(data: Path, results: Path) -> None:
    scores, trials = scores_of(results), n_trials(results)
    leaderboard = pd.read_csv(results / "leaderboard.csv").drop(columns="seconds")
    for pipeline, flags in FLAGS.items():
        extra = ["--prior", "estimate"] if pipeline == "blend" else ["--jobs", "2"]
        done = command(pipeline, data, results, *flags, *extra)
        assert done.returncode == 0, done.stderr
    assert scores_of(results) == scores
    assert n_trials(results) == trials
    assert list(trials.values()) == [2]
    pd.testing.assert_frame_equal(
        pd.read_csv(results / "leaderboard.csv").drop(columns="seconds"), leaderboard
    )


def test_interrupted_gru_fits_only_the_missing_folds(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    checkpoints = again / "checkpoints" / "gru"
    (checkpoints / "fold1.pt").unlink()
    shutil.rmtree(again / "gru")
    kept = (checkpoints / "fold0.pt").stat().st_mtime_ns
    done = command("gru", data, again, *FLAGS["gru"])
    assert done.returncode == 0, done.stderr
    assert (checkpoints / "fold0.pt").stat().st_mtime_ns == kept
    assert scores_of(again) == scores_of(results)


def test_checkpoints_of_different_settings_are_not_used(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    done = command("gru", data, again, *FLAGS["gru"], "--cell", "rnn")
    assert done.returncode == 0, done.stderr
    assert json.loads((again / "gru" / "config.json").read_text())["params"]["cell"] == "RNN"
    assert (again / "gru" / "oof.npz").read_bytes() != (results / "gru" / "oof.npz").read_bytes()


@pytest.mark.parametrize(
    ("member", "own"),
    [
        ("cnn", ["--arch", "cnn", "--epochs", "1"]),
        ("cnn", ["--arch", "resnet", "--epochs", "1"]),
        ("mlp", ["--epochs", "1"]),
        ("spectrum", []),
    ],
)
def test_further_member_is_in_the_blend_and_predicts_the_scores_of_training(
    data: Path, results: Path, tmp_path: Path, member: str, own: list[str]
) -> None:
    again = shutil.copytree(results, tmp_path / "small")
    for pipeline, flags in ((member, [*own, "--folds", "3", "--jobs", "1"]), ("blend", [])):
        done = command(pipeline, data, again, *flags)
        assert done.returncode == 0, done.stderr
    if member == "cnn":
        assert json.loads((again / "cnn" / "config.json").read_text())["params"]["arch"] == own[1]
    blended = json.loads((again / "blend" / "config.json").read_text())["members"]
    assert sorted(blended) == sorted(["gbm", "gru", member])
    used = [name for name, entry in blended.items() if entry["weight"] > 0]
    assert [loaded.name for loaded in Detector.load(again / "blend").members] == used
    test = Scores.load(again / member / "test.npz")
    detector = Detector.load(again / member)
    for k, recording_id in enumerate(test.recording_id):
        found = detector.score(data / "test" / f"{recording_id}.flac").recording
        np.testing.assert_allclose(found, test.scores[k], atol=1e-6)


def test_mlp_does_not_depend_on_jobs(data: Path, results: Path, tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        again = shutil.copytree(results, tmp_path / jobs / "small")
        done = command("mlp", data, again, "--epochs", "1", "--folds", "3", "--jobs", jobs)
        assert done.returncode == 0, done.stderr
    first, second = (tmp_path / jobs / "small" / "mlp" for jobs in ("1", "2"))
    for split in ("oof.npz", "test.npz"):
        assert (first / split).read_bytes() == (second / split).read_bytes()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_reported_before_anything_is_computed(data: Path, tmp_path: Path) -> None:
    done = command("gru", data, tmp_path / "small", "--device", "cuda")
    assert done.returncode == 2
    assert "device 'cuda': torch finds no CUDA GPU" in done.stderr
    assert not (tmp_path / "small").exists()


def test_retrained_member_makes_the_blend_outdated(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    done = command("gru", data, again, *FLAGS["gru"], "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(again / "leaderboard.csv")["model"]) == ["prior", "background", "gbm", "gru"] * 2
    with pytest.raises(
        RunError, match=r"blend: a member has been trained again; run 'python pipelines/blend"
    ):
        Detector.load(again / "blend")


@pytest.mark.parametrize("member", ["gbm", "gru"])
def test_blend_of_one_member_names_the_other_command(
    data: Path, results: Path, tmp_path: Path, member: str
) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    shutil.rmtree(again / member)
    message = error_message(command("blend", data, again))
    assert f"run 'python pipelines/{member}.py'" in message


def test_prior_of_a_blend_can_be_given_to_another_blend(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    table = results / "blend" / "prior.csv"
    done = command("blend", data, again, "--prior", table)
    assert done.returncode == 0, done.stderr
    assert (again / "blend" / "prior.csv").read_text() == table.read_text()


def test_blend_rejects_members_with_other_folds(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    file = again / "gru" / "oof.npz"
    scores = Scores.load(file)
    replace(scores, fold=np.roll(scores.fold, 1)).save(file)
    sign(again / "gru")
    message = error_message(command("blend", data, again))
    assert "gbm/oof.npz and gru/oof.npz differ in fold" in message


def test_holdout_is_the_recordings_that_score(data: Path, results: Path, tmp_path: Path) -> None:
    again = shutil.copytree(results, tmp_path / "small")
    table = tmp_path / "before.csv"
    pd.DataFrame({"recording_id": ["a1", "a1", "a4"]}).to_csv(table, index=False)
    assert command("gbm", data, again, *FLAGS["gbm"], "--holdout", table).returncode == 0
    oof, before = (read_run(folder / "gbm").oof for folder in (again, results))
    np.testing.assert_array_equal(oof.scores, before.scores)  # all recordings still train
    assert oof.holdout is not None
    assert oof.recording_id[oof.holdout].tolist() == ["a1", "a4"]
    message = error_message(command("blend", data, again))
    assert "gbm/oof.npz and gru/oof.npz differ in holdout" in message
    assert command("gru", data, again, *FLAGS["gru"], "--holdout", table).returncode == 0
    done = command("blend", data, again)
    assert done.returncode == 0, done.stderr
    leaderboard = pd.read_csv(again / "leaderboard.csv").query("split == 'oof'")
    assert set(leaderboard["n_recordings"]) == {2}
    assert set(leaderboard["model"]) == {"prior", "background", "gbm", "gru", "blend"}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a1", "t0"], "line 3: recording_id 't0' is not a training recording; remove it"),
        ([], "has a species"),
    ],
)
def test_holdout_of_other_recordings_is_refused(
    data: Path, tmp_path: Path, ids: list[str], message: str
) -> None:
    table = tmp_path / "before.csv"
    pd.DataFrame({"recording_id": ids}).to_csv(table, index=False)
    results = tmp_path / "results"
    assert message in error_message(command("gbm", data, results, *FLAGS["gbm"], "--holdout", table))
    assert not (results / "gbm").exists()


def test_blend_rejects_members_of_other_data(data: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(results, again)
    changed = shutil.copytree(data, tmp_path / "data")
    boxes = (changed / "train_tp.csv").read_text().splitlines()
    (changed / "train_tp.csv").write_text("\n".join(boxes[:-1]) + "\n")
    assert command("gbm", changed, again, *FLAGS["gbm"]).returncode == 0
    message = error_message(command("blend", changed, again))
    assert "gru: belongs to other data (TP boxes of the data set have changed since); run" in message
    assert "pipelines/gru.py" in message


def test_dataset_with_tp_boxes_only_can_be_trained(small_dataset: Path, tmp_path: Path) -> None:
    for file in small_dataset.glob("*.csv"):
        if file.name != "train_tp.csv":
            file.unlink()
    shutil.rmtree(small_dataset / "test")
    results = tmp_path / "results"
    train(small_dataset, results)
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    assert list(leaderboard["split"]) == ["oof"] * 5
    assert not (results / "blend" / "submission.csv").exists()


def test_rfcx_recordings_can_be_trained(shared_data: Path, tmp_path: Path) -> None:
    """The sample has 29 recordings of one minute at 48 and 32 kHz, and TP boxes of 14 of the 24 species."""
    printed = ""
    flags = {
        "gbm": ["--trials", "1", "--folds", "2"],
        "gru": ["--epochs", "1", "--folds", "2", "--jobs", "1"],
        "blend": [],
    }
    for pipeline in flags:
        data, results = shared_data / "rfcx-sample", tmp_path / "rfcx"
        done = command(pipeline, data, results, *flags[pipeline])
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "10 species have no TP box and cannot be learned" in printed
    assert len(pd.read_csv(tmp_path / "rfcx" / "leaderboard.csv")) == 5


def test_folds_keep_groups_whole(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "nips4b")
    fold = make_folds(presence(dataset), dataset.groups, 5, seed=0)
    for group in np.unique(dataset.groups):
        assert len(set(fold[dataset.groups == group])) == 1
