"""A member that is added with one class and one registry line trains, blends, reports and predicts."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from features.common.files import read_arrays, replacing
from features.frames.frames import Frames
from pipelines.core.cli import training_parser
from pipelines.core.detector import Detector
from pipelines.core.member import CrossFit, WindowScorer
from pipelines.core.runs import Scores
from pipelines.core.task import Task
from pipelines.core.train import train_member
from pipelines.members import MEMBERS
from pipelines.reporting import false_alarms
from tests.conftest import read_scores, run_command


class ToyScorer(WindowScorer):
    """Cosine similarity of a window's mean log-mel to that of each species."""

    def __init__(self, means: np.ndarray) -> None:
        self.means = means  # (n_species, n_mels)

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return np.stack([frames.log_mel[start : start + length].mean(axis=0) for start in starts])

    def predict(self, X: np.ndarray) -> np.ndarray:
        norms = np.linalg.norm(X, axis=1, keepdims=True) * np.linalg.norm(self.means, axis=1)
        return (1 + X @ self.means.T / norms) / 2

    def save(self, folder: Path) -> None:
        with replacing(folder / "means.npz") as temporary:
            np.savez(temporary, means=self.means)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        return cls(read_arrays(folder / "means.npz", "means")["means"])


class Toy:
    """The toy member."""

    name = "toy"
    scorer = ToyScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        pass

    def fit(self, task: Task, used: np.ndarray) -> tuple[ToyScorer, np.ndarray]:
        X = task.compute("train", ToyScorer(np.empty(0)).inputs, "windows")
        labels = task.labels
        return ToyScorer(np.stack([X[used & (y == 1)].mean(axis=0) for y in labels.T])), X

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        fold, P = task.per_window(task.fold), np.zeros(task.labels.shape)
        for k in range(task.n_folds):
            scorer, X = self.fit(task, fold != k)
            P[fold == k] = scorer.predict(X[fold == k])
        return CrossFit(P, seconds=0.0)

    def fit_final(self, task: Task, args: argparse.Namespace) -> ToyScorer:
        return self.fit(task, np.ones(len(task.labels), bool))[0]


@pytest.fixture(scope="module")
def results(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Results of the small data set, with the toy member trained and in the blend, and the report."""
    data, whole = trained
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("toy") / "results")
    with (
        mock.patch.dict(MEMBERS, {"toy": f"{__name__}:Toy"}),
        mock.patch.object(false_alarms, "NOISE_MINUTES", 1),
    ):
        flags = ["--data", str(data), "--results", str(folder)]
        train_member(Toy(), training_parser("").parse_args([*flags, "--folds", "3"]))
        for command in ("blend", "report"):
            call(command, *flags)
        yield folder


def call(command: str, *flags: str) -> None:
    """Run a command, which must end without an error."""
    done = run_command(command, *flags)
    assert done.returncode == 0, done.stderr


def test_toy_member_is_on_the_leaderboard(results: Path) -> None:
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    expected = ["prior", "background", "gbm", "gru", "toy", "blend"]
    assert list(leaderboard["model"]) == expected * 2
    # The small data set has one tone per species, so the toy member can separate the species.
    test = leaderboard[leaderboard["split"] == "test"].set_index("model")["lrap"]
    assert test["toy"] > test["prior"]


def test_toy_member_is_in_the_blend(results: Path) -> None:
    detector = Detector.load(results / "blend")
    assert [member.name for member in detector.members] == ["gbm", "gru", "toy"]
    assert len(detector.blend.weights) == 3
    assert (results / "figures" / "weights.png").exists()


def test_toy_member_is_in_the_report(results: Path) -> None:
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "<td>toy</td>" in text
    assert "<th>average precision of toy, test</th>" in text


@pytest.mark.parametrize("model", ["toy", "blend"])
def test_toy_member_predicts_the_same_test_scores_as_in_training(
    trained: tuple[Path, Path], results: Path, tmp_path: Path, model: str
) -> None:
    flags = ("--model", str(results / model), "--out", str(tmp_path))
    call("predict", str(trained[0] / "test"), *flags)
    scores = read_scores(tmp_path)
    expected = Scores.load(results / model / "test.npz")
    assert list(scores.index) == list(expected.recording_id)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
