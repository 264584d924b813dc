"""`history.csv` keeps the metrics of runs that are replaced later."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.dataset import Dataset
from features.data.tables import DatasetError
from models.metrics import ap_per_species
from pipelines.core.evaluation import evaluations
from pipelines.core.history import read_history, update_history
from pipelines.core.leaderboard import update_leaderboard
from pipelines.core.run_config import BASELINE, MEMBER
from pipelines.core.runs import read_run
from pipelines.core.truth import training_truth
from tests.pipelines.core.conftest import WriteRun


def scores(dataset: Dataset, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(dataset.train), dataset.n_species))


def test_each_run_is_kept_once(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    assert read_history(tmp_path).empty
    write("prior", BASELINE)
    for seed in (0, 0, 1):
        write("gbm", MEMBER, oof=scores(dataset, seed))
        update_history(tmp_path, dataset)
        update_history(tmp_path, dataset)
    history = read_history(tmp_path)
    assert set(history["model"]) == {"gbm"}
    assert history["run"].nunique() == 2
    assert list(history["run"].unique())[-1] == read_run(tmp_path / "gbm").manifest.id
    assert not history.duplicated().any()
    assert (history["n_boxes"] == len(dataset.tp) + len(dataset.fp)).all()
    for seed, (_, rows) in enumerate(history[history["split"] == "oof"].groupby("run", sort=False)):
        truth, P = training_truth(dataset), scores(dataset, seed)
        expected = evaluations(dataset, P, None, holdout=np.ones(len(P), bool), seed=0)["oof"]
        (lrap,) = rows[rows["metric"] == "lrap"].to_dict("records")
        found = [lrap["value"], lrap["low"], lrap["high"], lrap["n_recordings"]]
        wanted = [expected.lrap, expected.lrap_low, expected.lrap_high, expected.n_recordings]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        ap = rows[rows["metric"] == "ap"]
        assert ap["species"].tolist() == list(dataset.species)
        np.testing.assert_allclose(ap["value"], ap_per_species(truth, P), rtol=1e-5)


def test_runs_of_other_recordings_are_told_apart(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    holdout = np.arange(len(dataset.train)) < 3
    write("gbm", MEMBER)
    update_history(tmp_path, dataset)
    write("gbm", MEMBER, holdout=holdout)
    update_history(tmp_path, dataset)
    history = read_history(tmp_path)
    of_split = {split: set(rows["recordings"]) for split, rows in history.groupby("split")}
    assert (len(of_split["oof"]), len(of_split["test"])) == (2, 1)


def test_metrics_are_those_of_the_holdout(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    holdout, P = np.arange(len(dataset.train)) < 3, scores(dataset, 5)
    write("gbm", MEMBER, oof=P, holdout=holdout)
    run = read_run(tmp_path / "gbm")
    np.testing.assert_array_equal(run.oof.holdout, holdout)
    truth = training_truth(dataset)
    found = [row["oof_ap"] for row in run.metrics["per_species"]]
    np.testing.assert_allclose(found, ap_per_species(truth[holdout], P[holdout]))
    rows = update_leaderboard(tmp_path, dict(run.manifest.data)).set_index("split")
    assert rows.loc["oof", "n_recordings"] == 3
    assert rows.loc["test", "n_recordings"] == 2


def test_damaged_history_is_refused(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    write("gbm", MEMBER)
    update_history(tmp_path, dataset)
    table = pd.read_csv(tmp_path / "history.csv", dtype=str)
    table.loc[1, "n_boxes"] = "many"
    table.to_csv(tmp_path / "history.csv", index=False)
    with pytest.raises(DatasetError, match=r"history.csv line 3.*many"):
        update_history(tmp_path, dataset)
