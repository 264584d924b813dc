"""The command `predict`: scores and detections of new recordings, and recordings that fail."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.core.detector import Detector
from pipelines.core.runs import Scores
from tests.conftest import error_message, read_scores, run_command

MODELS = ("gbm", "gru", "blend")


@pytest.mark.parametrize("model", MODELS)
def test_test_recordings_have_the_same_scores_as_in_training(
    trained: tuple[Path, Path], tmp_path: Path, model: str
) -> None:
    data, results = trained
    done = run_command("predict", data / "test", "--model", results / model, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    expected = Scores.load(results / model / "test.npz")
    scores = read_scores(tmp_path / "out")
    assert list(scores.columns) == ["coqui", "owl", "frog"]
    assert list(scores.index) == list(expected.recording_id)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "submission.csv"),
        pd.read_csv(results / model / "submission.csv"),
        atol=1e-6,
    )


def test_undecodable_recording_has_no_scores_and_the_prior_in_the_submission(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    data, results = trained
    recordings = shutil.copytree(data / "test", tmp_path / "recordings")
    (recordings / "broken.flac").write_bytes(b"fLaC")
    flags = (recordings, "--model", results / "gbm", "--out", tmp_path / "out")
    done = run_command("predict", *flags)
    assert done.returncode == 0
    assert "broken.flac: cannot be decoded" in done.stderr
    assert "2 recordings scored" in done.stdout
    assert "1 recordings could not be read and have no scores" in done.stdout
    out = tmp_path / "out"
    assert list(pd.read_csv(out / "scores.csv")["recording_id"]) == ["t0", "t1"]
    submission = pd.read_csv(out / "submission.csv", index_col="recording_id")
    np.testing.assert_allclose(submission.loc["broken"], 1 / 3)
    assert list(pd.read_csv(out / "failed_recordings.csv")["recording_id"]) == ["broken"]
    assert "broken.flac: cannot be decoded" in error_message(run_command("predict", *flags, "--strict"))


def test_recordings_can_be_given_as_files(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    files = (data / "train" / "a0.flac", data / "test" / "t1.flac")
    done = run_command("predict", *files, "--model", results / "gru", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(tmp_path / "out" / "scores.csv")["recording_id"]) == ["a0", "t1"]


def test_lower_thresholds_give_more_detections(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    n = {}
    for flag in (("--precision", "0.95"), ("--recall", "0.5"), ("--recall", "0.95")):
        run_command("predict", data / "train", "--model", results / "gbm", "--out", tmp_path, *flag)
        n[flag] = len(pd.read_csv(tmp_path / "detections.csv"))
    lines = (tmp_path / "detections.csv").read_text().splitlines()
    assert lines[0] == "recording_id,site,time,species,t_min,t_max,f_min,f_max,score,threshold,verifiable"
    assert all(len(number) <= len("0.123456") for line in lines[1:] for number in line.split(",")[4:-1])
    assert n["--recall", "0.95"] >= n["--recall", "0.5"] > 0
    assert n["--recall", "0.95"] >= n["--precision", "0.95"]


def test_prior_can_be_estimated_or_given(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    table = tmp_path / "prior.csv"
    table.write_text("species,prevalence\ncoqui,0.9\ns1,0.1\nfrog,0.3333333\n")
    scores = {}
    for prior in ("none", "estimate", table):
        flags = ("--model", results / "blend", "--out", tmp_path / "out", "--prior", prior)
        assert run_command("predict", data / "test", *flags).returncode == 0
        scores[prior] = read_scores(tmp_path / "out")
    detector = Detector.load(results / "blend")
    plain = detector.probabilities(scores["none"].to_numpy())
    given = scores[table].to_numpy()
    assert (given[:, 0] > plain[:, 0]).all()
    assert (given[:, 1] < plain[:, 1]).all()
    np.testing.assert_allclose(given[:, 2], plain[:, 2], atol=1e-6)
    assert not np.allclose(scores["estimate"], scores["none"])
    assert (tmp_path / "out" / "prior.csv").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("coqui,0.5\nowl,0.5", "missing species frog"),
        ("coqui,0.5\nowl,0.5\nfrog,2", "prevalence 2 of 'frog' is above 1"),
        ("coqui,0.5\nowl,0.5\ntoad,0.5", "unknown species 'toad'"),
        ("coqui,0.5\ncoqui,0.5", "duplicate species 'coqui'"),
        ("coqui,x", "'x' is not a number"),
    ],
)
def test_invalid_prior_is_rejected_before_scoring(
    trained: tuple[Path, Path], tmp_path: Path, lines: str, message: str
) -> None:
    data, results = trained
    table = tmp_path / "prior.csv"
    table.write_text(f"species,prevalence\n{lines}\n")
    flags = ("--model", results / "gbm", "--out", tmp_path / "out", "--prior", table)
    assert message in error_message(run_command("predict", data / "test", *flags))
    assert not (tmp_path / "out").exists()


def test_invalid_model_or_recordings_are_rejected(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    bare = shutil.copytree(results / "gbm", tmp_path / "bare")
    (bare / "species_bands.npz").unlink()
    alone = shutil.copytree(results / "blend", tmp_path / "alone" / "blend")
    empty = tmp_path / "empty"
    empty.mkdir()
    for flags, message in (
        ((data / "test", "--model", empty), "empty: no trained model here; give the folder of a run"),
        ((data / "test", "--model", bare), "bare: not a valid run of this version"),
        ((data / "test", "--model", alone), "alone/gbm: missing member of the blend"),
        (
            (empty, "--model", results / "gbm"),
            "no recordings found; .flac, .wav, .ogg and .mp3 files can be read",
        ),
        ((tmp_path / "nowhere", "--model", results / "gbm"), "no such file or folder"),
        (
            (data / "test", data / "test" / "t0.flac", "--model", results / "gbm"),
            "same recording id 't0' as",
        ),
    ):
        assert message in error_message(run_command("predict", *flags, "--out", tmp_path / "out"))


@pytest.mark.parametrize("out", ["results", "results/gbm"])
def test_output_is_not_written_into_a_results_folder(
    trained: tuple[Path, Path], tmp_path: Path, out: str
) -> None:
    results = shutil.copytree(trained[1], tmp_path / "results")
    flags = ("--model", results / "gbm", "--out", tmp_path / out)
    message = error_message(run_command("predict", trained[0] / "test", *flags))
    assert f"{out}: contains the run '" in message
    assert "give another folder with --out" in message
    assert not list(results.rglob("predictions.db"))


def test_output_below_a_file_is_rejected_before_scoring(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    flags = ("--model", trained[1] / "gbm", "--out", tmp_path / "file" / "out")
    message = error_message(run_command("predict", trained[0] / "test", *flags))
    assert "file/out: cannot be written" in message
