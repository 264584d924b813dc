"""The ablation in small: what it leaves out is left out, and it scores as the pipeline does."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.synthetic import SyntheticSettings, write_dataset
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.folds import out_of_fold
from models.metrics import lrap
from models.scoring.aggregation import best_readout
from pipelines import ablation
from pipelines.core.cli import training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import Examples

SMALL = SyntheticSettings(n_train=24, n_test=6, duration=9.0, n_train_sites=6, n_test_sites=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "forest", 2, SMALL)


@pytest.fixture(scope="module")
def arguments(root: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    parser = training_parser("")
    parser.add_argument("--peers", action="store_true")
    results = tmp_path_factory.mktemp("results")
    return parser.parse_args(["--data", str(root), "--results", str(results), "--folds", "2"])


@pytest.fixture(scope="module")
def task(arguments) -> Task:  # type: ignore[no-untyped-def]
    return load_task(arguments)


def test_families_are_whole_and_left_out_whole(task: Task) -> None:
    names = Examples(task).descriptor.names()
    found = {
        c.name: [names[k] for k in c.columns] for c in ablation.contestants(task, names, with_peers=False)
    }
    assert found["gbm, all"] == names
    assert all(name.startswith(("mfcc", "contrast")) for name in found["MFCC and contrast"])
    assert not any("template" in name for name in found["all but own templates"])
    assert not any("kHz_" in name and name.startswith("s") for name in found["all but own bands"])
    assert not any(name.startswith("band_") for name in found["all but band energies"])
    for what in ("templates", "bands"):
        assert 0 < len(found[f"all but own {what}"]) < len(names)
    left = set(names) - set(found["all but own templates"])
    assert left == {name for name in names if "template" in name}


def test_the_first_row_is_the_gbm_and_the_others_are_held_against_it(
    arguments,  # type: ignore[no-untyped-def]
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = ablation.contestants
    monkeypatch.setattr(ablation, "contestants", lambda *args: list(every(*args))[:2])
    ablation.main(arguments)
    table = pd.read_csv(task.results / "ablation.csv")
    assert list(table["what"]) == ["gbm, all", "trees alone"]
    examples = Examples(task)
    *_, P = out_of_fold(
        OneVsRestGBM(random_state=0, n_jobs=1), [examples.fold(k) for k in range(task.n_folds)]
    )
    _, _, expected = best_readout(P, task.first_windows("train"), task.truth, task.fold, lrap)
    assert table["oof_lrap"][0] == pytest.approx(expected, abs=1e-4)
    assert table["oof_behind"][0] == 0
    assert table["oof_behind"][1] == pytest.approx(table["oof_lrap"][0] - table["oof_lrap"][1], abs=1e-3)
    assert {"test_lrap", "test_auc", "test_behind_low"} <= set(table.columns)
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)
