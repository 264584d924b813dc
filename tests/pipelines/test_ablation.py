"""The ablation on a small data set: whole blocks are left out, and the scores are those of training."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.columns.statistics import Statistics
from models.folds import out_of_fold, split
from models.metrics import lrap
from models.scoring.aggregation import best_aggregation
from pipelines import ablation
from pipelines.benchmarks import recording_peers
from pipelines.benchmarks.front_ends import compare_front_ends
from pipelines.benchmarks.multilabel_peers import MLkNN
from pipelines.core.cli import training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import TrainingWindows
from pipelines.members.gbm import default_parameters, make_model


@pytest.fixture(scope="module")
def arguments(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    parser = training_parser("")
    parser.add_argument("--peers", action="store_true")
    results = tmp_path_factory.mktemp("results")
    return parser.parse_args(
        ["--data", str(trained[0]), "--results", str(results), "--folds", "2", "--jobs", "1"]
    )


@pytest.fixture(scope="module")
def task(arguments: Namespace) -> Task:
    return load_task(arguments)


def test_blocks_are_left_out_as_a_whole(task: Task) -> None:
    features = TrainingWindows(task).features
    names, slices = features.names(), features.slices()
    found = {
        contestant.name: [names[k] for k in contestant.columns]
        for contestant in ablation.contestants(task, features, with_peers=False)
    }
    assert found["all"] == names
    for part in ("trees", "linear"):
        assert found[f"{part} alone"] == names
    librosa = found["MFCC and contrast, no overlays"]
    assert librosa
    assert all(name.startswith(("mfcc", "contrast")) for name in librosa)
    assert not any("template" in name for name in found["all but templates"])
    assert not any("kHz_" in name and name.startswith("s") for name in found["all but species_bands"])
    assert not any(name.startswith(("band_", "mfcc", "contrast")) for name in found["all but statistics"])
    assert list(slices) == ["statistics", "species_bands", "templates", "patches"]
    for block, columns in slices.items():
        kept = found[f"all but {block}"]
        assert 0 < len(kept) < len(names)
        assert set(names) - set(kept) == set(names[columns])
        assert found[f"blocks up to {block}, no overlays"] == names[: columns.stop]
    assert set(names[slices["templates"]]) == {name for name in names if "template" in name}


def test_peers_are_compared_on_request(task: Task) -> None:
    features = TrainingWindows(task).features
    own, all_of_them = (
        [contestant.name for contestant in ablation.contestants(task, features, with_peers)]
        for with_peers in (False, True)
    )
    assert all_of_them[: len(own)] == own
    assert {"ridge, all", "default LightGBM, MFCC and contrast, no overlays"} <= set(all_of_them[len(own) :])


def test_first_row_is_the_gbm_and_the_others_are_compared_with_it(
    arguments: Namespace, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_contestants = ablation.contestants
    monkeypatch.setattr(ablation, "contestants", lambda *args: list(all_contestants(*args))[:2])
    ablation.main(arguments)
    table = pd.read_csv(task.results / "ablation.csv")
    assert list(table["what"]) == ["all", "trees alone"]
    windows = TrainingWindows(task)
    model = make_model(default_parameters(), seed=0, n_jobs=1)
    *_, P = out_of_fold(model, [windows.fold(k) for k in range(task.n_folds)])
    _, _, expected = best_aggregation(P, task.first_windows("train"), task.truth, fold=task.fold, metric=lrap)
    assert table["oof_lrap"][0] == pytest.approx(expected, abs=1e-4)
    assert table["oof_behind"][0] == 0
    assert table["oof_behind"][1] == pytest.approx(table["oof_lrap"][0] - table["oof_lrap"][1], abs=1e-3)
    assert {"test_lrap", "test_auc", "test_behind_low"} <= set(table.columns)
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)


def test_peers_on_whole_recordings(arguments: Namespace, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows have the scores of their models, also those of packages that are not installed here."""
    rng = np.random.default_rng(0)
    n_train, n_test = len(task.dataset.train), len(task.dataset.test)
    table = rng.normal(size=(n_train, 5)), rng.normal(size=(n_test, 5))
    monkeypatch.setattr(recording_peers, "_functionals", lambda _: table)
    monkeypatch.setattr(recording_peers, "_minirocket", lambda _: None)
    monkeypatch.setattr(recording_peers, "multilabel_models", lambda *_: {"MLkNN": MLkNN()})
    monkeypatch.setattr(ablation, "compare_front_ends", lambda _: iter(()))
    all_contestants = ablation.contestants
    monkeypatch.setattr(ablation, "contestants", lambda *args: list(all_contestants(*args))[:1])
    arguments = Namespace(**{**vars(arguments), "peers": True})
    ablation.main(arguments)
    rows = pd.read_csv(task.results / "ablation.csv").set_index("what")
    assert list(rows.index) == ["all", "MLkNN, recordings", "openSMILE functionals, ridge, recordings"]
    n_statistics = len(Statistics(task.store.settings).names())
    assert rows["columns"].tolist()[1:] == [3 * n_statistics, 5]
    assert rows[["oof_lrap", "oof_auc", "test_lrap", "test_auc", "seconds"]].notna().all(axis=None)
    X = task.compute(
        "train", partial(recording_peers.recording_columns, block=Statistics(task.store.settings)), ""
    )
    *_, raw = out_of_fold(MLkNN(), split(X, task.known, task.fold))
    assert rows["oof_uncalibrated"]["MLkNN, recordings"] == pytest.approx(lrap(task.truth, raw), abs=1e-4)


def test_front_ends_are_trained_and_scored(task: Task) -> None:
    entries = list(compare_front_ends(task, "--epochs", "1"))
    assert [entry.name for entry in entries] == [
        "gru, background subtraction",
        "gru, PCEN",
        "gru, spectral gating",
    ]
    for entry in entries:
        assert entry.oof.shape == task.truth.shape
        assert entry.test is not None
    assert not np.array_equal(entries[0].oof, entries[1].oof)
