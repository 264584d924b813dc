"""Simulated reviews: the answers are those of the labels, and each command reports what it measured."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from features.data.dataset import load_dataset
from features.data.synthetic import SyntheticSettings, write_dataset
from pipelines.benchmarks import simulated_review
from pipelines.benchmarks.simulated_review import Reviewer, interval_coverage, rank_by_example
from pipelines.core.detector import Detector
from pipelines.reviewing.population import Place, Population
from tests.conftest import error_message, run_command

STARTS = np.arange(0, 7.5, 0.5)


class Reference:
    """A model whose score of each species rises with time, differently in each recording."""

    def __init__(self, species: tuple[str, ...]) -> None:
        self.species = species

    def score(self, path: Path) -> SimpleNamespace:
        last = int(path.stem[-1]) + 1
        P = np.tile(np.where(7 - last <= STARTS, 0.9, 0.1)[:, None], len(self.species))
        windows = pd.DataFrame(P, columns=list(self.species)).assign(start=STARTS)
        return SimpleNamespace(windows=windows)


@pytest.fixture(scope="module")
def reviewer(tmp_path_factory: pytest.TempPathFactory) -> Reviewer:
    settings = SyntheticSettings(n_train=12, n_test=6, duration=8.0)
    dataset = load_dataset(write_dataset(tmp_path_factory.mktemp("whole"), n_jobs=1, settings=settings))
    return Reviewer(dataset, cast(Detector, Reference(dataset.species)))


def test_window_has_a_species_of_its_recording_where_the_reference_hears_it(reviewer: Reviewer) -> None:
    labels = reviewer.dataset.test_labels
    assert labels is not None
    for k, recording_id in enumerate(reviewer.dataset.test):
        found = reviewer.has_species(recording_id, np.array([0.0, 3.1, 7.0]))
        heard = np.array([0.0, 3.1, 7.0]) >= 7 - (k + 1) - 0.25
        np.testing.assert_array_equal(found, heard[:, None] & (labels[k] == 1))


def test_perfect_scores_have_narrow_intervals_that_cover_the_truth(reviewer: Reviewer) -> None:
    ids = list(reviewer.dataset.test)
    start = np.arange(0, 7.0)
    truth = np.concatenate([reviewer.has_species(r, start) for r in ids])
    population = Population(
        scores=np.where(truth, 0.95, 0.05).astype(np.float32),
        recording=np.repeat(np.arange(len(ids)), len(start)),
        start=np.tile(start, len(ids)),
        place=np.zeros(len(truth), int),
        hour=np.full(len(truth), -1),
        length=1.0,
        recordings={r: Path(r) for r in ids},
        site_times={},
        durations={},
        places=(Place("", ""),),
    )
    np.testing.assert_array_equal(reviewer.of_population(population), truth)
    found = interval_coverage(reviewer, population, np.full(truth.shape[1], 0.5), n_seeds=2, n=20)
    for what in ("density", "precision", "recall"):
        assert found[f"{what}, coverage"] >= 0.9
        assert found[f"{what}, width"] < 1


def test_example_ranks_windows_better_than_chance(reviewer: Reviewer) -> None:
    rows = pd.DataFrame(rank_by_example(reviewer, n_seeds=1))
    labels = reviewer.dataset.test_labels
    assert labels is not None
    assert rows["species"].is_unique
    present = labels[:, labels.any(axis=0)]
    assert rows["recordings, similarity"].mean() > present.mean()  # the mean AP of random scores


def test_rounds_train_review_and_train_again(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(command: str, *flags: str | Path) -> None:
        done = run_command(command, *flags)
        assert done.returncode == 0, done.stderr

    monkeypatch.setattr(simulated_review, "_call", call)  # a new process imports for seconds
    data = shutil.copytree(trained[0], tmp_path / "data")
    for name in ("sample_submission.csv", "train_labels.csv"):
        (data / name).unlink()
    flags = ("--reference", trained[1] / "gru", "--results", tmp_path / "out", "--seeds", "1")
    done = run_command("simulate", "rounds", "--data", data, *flags, "--rounds", "1", "--n", "3")
    assert done.returncode == 0, done.stderr
    assert "LRAP after 1 rounds, queue - random" in done.stdout
    table = pd.read_csv(tmp_path / "out" / "rounds.csv")
    assert table[["strategy", "round"]].to_numpy().tolist() == [
        ["queue", 0],
        ["queue", 1],
        ["random", 0],
        ["random", 1],
    ]
    before = table[table["round"] == 0].drop(columns="strategy")
    assert len(before.drop_duplicates()) == 1
    for strategy in ("queue", "random"):
        dataset = load_dataset(tmp_path / "out" / f"{strategy}0" / "data")
        assert len(dataset.tp) + len(dataset.fp) == 12 + 3
        assert len(dataset.test) == 1


def test_data_without_test_labels_are_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data = shutil.copytree(trained[0], tmp_path / "data")
    (data / "test_labels.csv").unlink()
    flags = ("--reference", trained[1] / "gru", "--results", tmp_path / "out")
    message = error_message(run_command("simulate", "similar", "--data", data, *flags))
    assert "has no test_labels.csv" in message
