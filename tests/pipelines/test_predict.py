"""New recordings to answers."""

import io
import runpy
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from models.scoring.thresholds import LEVELS
from pipelines.core.detections import Detection, detect
from pipelines.core.detector import Recogniser, Scored
from pipelines.core.runs import Scores
from tests.conftest import ROOT

MODELS = ("gbm", "gru", "blend")


def predict(*flags: str | Path) -> tuple[int, str, str]:
    """Return the exit status of the command, and what it printed."""
    arguments = [str(ROOT / "pipelines" / "predict.py"), *map(str, flags)]
    stdout, stderr = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", arguments), redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0), stdout.getvalue(), stderr.getvalue()
    return 0, stdout.getvalue(), stderr.getvalue()


@pytest.mark.parametrize("model", MODELS)
def test_new_recordings_get_the_scores_that_the_pipeline_gave_them(
    trained: tuple[Path, Path], tmp_path: Path, model: str
) -> None:
    data, results = trained
    status, _, stderr = predict(data / "test", "--model", results / model, "--out", tmp_path / "out")
    assert status == 0, stderr
    expected = Scores.load(results / model / "test.npz")
    scores = pd.read_csv(tmp_path / "out" / "scores.csv", index_col="recording_id")
    assert list(scores.columns) == ["coqui", "owl", "frog"]
    assert list(scores.index) == list(expected.recording_id)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "submission.csv"),
        pd.read_csv(results / model / "submission.csv"),
        atol=1e-6,
    )


def test_what_cannot_be_decoded_has_the_prior_in_the_submission_and_no_scores(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    data, results = trained
    field = shutil.copytree(data / "test", tmp_path / "field")
    (field / "broken.flac").write_bytes(b"fLaC")
    flags = (field, "--model", results / "gbm", "--out", tmp_path / "out")
    status, stdout, stderr = predict(*flags)
    assert status == 0
    assert "broken.flac: cannot be decoded" in stderr
    assert "2 recordings scored" in stdout
    assert "1 recordings failed, as" in stdout
    out = tmp_path / "out"
    assert list(pd.read_csv(out / "scores.csv")["recording_id"]) == ["t0", "t1"]
    submission = pd.read_csv(out / "submission.csv", index_col="recording_id")
    np.testing.assert_allclose(submission.loc["broken"], 1 / 3)
    assert list(pd.read_csv(out / "failed_recordings.csv")["recording_id"]) == ["broken"]
    assert predict(*flags, "--strict")[0] == 2


def test_files_may_be_given_one_by_one(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    files = (data / "train" / "a0.flac", data / "test" / "t1.flac")
    assert predict(*files, "--model", results / "gru", "--out", tmp_path / "out")[0] == 0
    assert list(pd.read_csv(tmp_path / "out" / "scores.csv")["recording_id"]) == ["a0", "t1"]


def test_lower_thresholds_find_more(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    n = {}
    for flag in (("--precision", "0.95"), ("--recall", "0.5"), ("--recall", "0.95")):
        predict(data / "train", "--model", results / "gbm", "--out", tmp_path, *flag)
        n[flag] = len(pd.read_csv(tmp_path / "detections.csv"))
    assert n["--recall", "0.95"] >= n["--recall", "0.5"] > 0
    assert n["--recall", "0.95"] >= n["--precision", "0.95"]


def test_the_prior_may_be_estimated_or_given(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    table = tmp_path / "prior.csv"
    table.write_text("species,prevalence\ncoqui,0.9\ns1,0.1\nfrog,0.3333333\n")
    scores = {}
    for prior in ("none", "estimate", table):
        flags = ("--model", results / "blend", "--out", tmp_path / "out", "--prior", prior)
        assert predict(data / "test", *flags)[0] == 0
        scores[prior] = pd.read_csv(tmp_path / "out" / "scores.csv", index_col="recording_id")
    recogniser = Recogniser.load(results / "blend")
    plain = recogniser.probabilities(scores["none"].to_numpy())
    given = scores[table].to_numpy()
    assert (given[:, 0] > plain[:, 0]).all()
    assert (given[:, 1] < plain[:, 1]).all()
    np.testing.assert_allclose(given[:, 2], plain[:, 2], atol=1e-6)
    assert not np.allclose(scores["estimate"], scores["none"])
    assert (tmp_path / "out" / "prior.csv").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("coqui,0.5\nowl,0.5", "lacks frog"),
        ("coqui,0.5\nowl,0.5\nfrog,2", "2 of 'frog' is no share"),
        ("coqui,0.5\nowl,0.5\ntoad,0.5", "'toad' is none of the model's"),
        ("coqui,0.5\ncoqui,0.5", "'coqui' stands there twice"),
        ("coqui,x", "'x' is not a number"),
    ],
)
def test_a_prior_that_is_wrong_is_named(
    trained: tuple[Path, Path], tmp_path: Path, lines: str, message: str
) -> None:
    data, results = trained
    table = tmp_path / "prior.csv"
    table.write_text(f"species,prevalence\n{lines}\n")
    status, _, stderr = predict(
        data / "test", "--model", results / "gbm", "--out", tmp_path / "out", "--prior", table
    )
    assert status == 2
    assert message in stderr
    assert not (tmp_path / "out").exists()  # it is said before anything is computed


def test_rfcx_prevalence_is_of_its_24_species() -> None:
    table = pd.read_csv(ROOT / "pipelines" / "rfcx_prevalence.csv")
    assert list(table["species"]) == [f"s{k}" for k in range(24)]
    assert table["prevalence"].loc[[3, 18, 19]].tolist() == [0.923, 0.474, 0.004]


def test_what_is_no_model_or_no_recording_is_named(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = trained
    bare = shutil.copytree(results / "gbm", tmp_path / "bare")
    (bare / "descriptor.npz").unlink()
    alone = shutil.copytree(results / "blend", tmp_path / "alone" / "blend")
    empty = tmp_path / "empty"
    empty.mkdir()
    for flags, message in (
        ((data / "test", "--model", empty), "holds no trained model; give --model"),
        ((data / "test", "--model", bare), "is not what this version saves"),
        ((data / "test", "--model", alone), "alone/gbm: holds no trained model"),
        ((empty, "--model", results / "gbm"), "holds no recordings; give .flac"),
        ((tmp_path / "nowhere", "--model", results / "gbm"), "no such file or folder"),
        ((data / "test", data / "test" / "t0.flac", "--model", results / "gbm"), "'t0' is also that of"),
    ):
        status, _, stderr = predict(*flags, "--out", tmp_path / "out")
        assert status == 2
        assert message in stderr
        assert len(stderr.splitlines()) == 1


def scored(windows: list[list[float]], recording: list[float]) -> Scored:
    start = 0.5 * np.arange(len(windows))
    return Scored(np.array(recording), np.array(windows), start, 1.0, start[-1] + 0.8)


def test_windows_over_the_threshold_are_merged() -> None:
    p = [0.1, 0.8, 0.9, 0.1, 0.1, 0.1, 0.7]
    found = detect(
        scored([[value, 0.2] for value in p], [0.85, 0.3]),
        np.array([0.6, 0.5]),
        np.array([[500.0, 900.0], [1.0, 2.0]]),
    )
    assert found == [
        Detection(0, 0.5, 2.0, 500.0, 900.0, 0.9),
        Detection(0, 3.0, 3.8, 500.0, 900.0, 0.7),  # the last window ends where the recording does
    ]


def test_a_species_that_is_found_is_found_somewhere() -> None:
    """A blend's score of a recording can be above that of each of its windows."""
    found = detect(scored([[0.4], [0.5]], [0.7]), np.array([0.6]), np.array([[0.0, 1.0]]))
    assert [(d.t_min, d.score) for d in found] == [(0.5, 0.5)]
    assert detect(scored([[0.9]], [0.5]), np.array([0.6]), np.array([[0.0, 1.0]])) == []


def test_every_level_has_a_threshold(trained: tuple[Path, Path]) -> None:
    thresholds = Recogniser.load(trained[1] / "blend").thresholds
    assert tuple(thresholds.precision) == tuple(thresholds.recall) == LEVELS
