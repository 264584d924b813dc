"""`leaderboard.csv` is written from the existing runs."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.dataset import Dataset
from features.data.identity import data_identity
from models.metrics import evaluate
from pipelines.core.leaderboard import LEADERBOARD_COLUMNS, print_leaderboard, update_leaderboard
from pipelines.core.run_config import BASELINE, BLEND, EXTERNAL, MEMBER
from pipelines.core.runs import read_manifest
from tests.pipelines.core.conftest import WriteRun


@pytest.fixture
def data(dataset: Dataset) -> dict[str, str]:
    """Return the identity of the data of the runs."""
    return data_identity(dataset)


def models(leaderboard: pd.DataFrame, split: str) -> list[str]:
    return list(leaderboard["model"][leaderboard["split"] == split])


def test_rows_are_sorted_by_split_then_kind_then_name(
    write: WriteRun, data: dict[str, str], tmp_path: Path
) -> None:
    for name, kind in (
        ("birdnet", EXTERNAL),
        ("blend", BLEND),
        ("svm", MEMBER),
        ("background", BASELINE),
        ("gbm", MEMBER),
        ("prior", BASELINE),
    ):
        write(name, kind)
    leaderboard = update_leaderboard(tmp_path, data)
    expected = ["prior", "background", "gbm", "svm", "birdnet", "blend"]
    assert list(leaderboard["model"]) == expected * 2
    assert list(leaderboard["split"]) == ["oof"] * 6 + ["test"] * 6


def test_only_runs_that_exist_have_rows(write: WriteRun, data: dict[str, str], tmp_path: Path) -> None:
    write("gbm", MEMBER)
    write("svm", MEMBER)
    assert models(update_leaderboard(tmp_path, data), "oof") == ["gbm", "svm"]
    shutil.rmtree(tmp_path / "gbm")
    (tmp_path / "frames").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.json").write_text("{}")  # without oof.npz
    assert models(update_leaderboard(tmp_path, data), "oof") == ["svm"]
    assert list(pd.read_csv(tmp_path / "leaderboard.csv")["model"]) == ["svm", "svm"]


def test_invalid_run_is_left_out_with_a_warning(
    write: WriteRun, data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("gbm", MEMBER)
    write("svm", MEMBER)
    (tmp_path / "svm" / "config.json").write_text("{}")  # as in versions without `format`
    assert models(update_leaderboard(tmp_path, data), "oof") == ["gbm"]
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: run left out: {tmp_path / 'svm'}: not a valid run of this version")
    assert warning.count("\n") == 1


def test_copied_and_unfinished_runs_have_no_rows(
    write: WriteRun, data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("prior", BASELINE)
    write("gbm", MEMBER)
    shutil.copytree(tmp_path / "prior", tmp_path / "prior_old")
    shutil.copytree(tmp_path / "gbm", tmp_path / ".gbm.new")  # as a killed command leaves it
    assert models(update_leaderboard(tmp_path, data), "oof") == ["prior", "gbm"]
    warnings = capsys.readouterr().err
    assert "prior_old: a copy of the run 'prior'; move it elsewhere" in warnings
    assert ".gbm.new" not in warnings


def test_results_without_a_run_have_no_rows(tmp_path: Path) -> None:
    assert len(update_leaderboard(tmp_path, {})) == 0
    assert list(pd.read_csv(tmp_path / "leaderboard.csv").columns) == LEADERBOARD_COLUMNS


def test_rows_have_the_metrics_and_seconds_of_the_run(
    write: WriteRun, data: dict[str, str], dataset: Dataset, tmp_path: Path
) -> None:
    write("gbm", MEMBER, oof=np.eye(3)[[0, 1, 2, 1, 2, 0]])
    row = update_leaderboard(tmp_path, data).iloc[0]
    assert dataset.train_labels is not None
    expected = asdict(evaluate(dataset.train_labels.astype(float), np.eye(3)[[0, 1, 2, 1, 2, 0]], 0))
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["n_recordings"] == 6
    assert row["lrap"] == pytest.approx((3 * 1 + 3 / 3) / 6)  # three with LRAP 1, three with 1/3
    assert row["seconds"] == 1.2


def test_run_without_test_scores_has_no_test_row(
    write: WriteRun, data: dict[str, str], tmp_path: Path
) -> None:
    write("gbm", MEMBER, test=None)
    write("gru", MEMBER)
    leaderboard = update_leaderboard(tmp_path, data)
    assert models(leaderboard, "oof") == ["gbm", "gru"]
    assert models(leaderboard, "test") == ["gru"]


def test_evaluation_with_prior_is_a_row_after_the_blend(
    write: WriteRun, data: dict[str, str], tmp_path: Path
) -> None:
    write("gbm", MEMBER)
    evaluation = asdict(evaluate(np.eye(3), np.eye(3), 0))
    write(
        "blend",
        BLEND,
        seconds={"oof": 1.0, "test": 2.0, "with_prior": 3.0},
        metrics={"with_prior": {"test": evaluation}},
    )
    leaderboard = update_leaderboard(tmp_path, data)
    assert models(leaderboard, "test") == ["gbm", "blend", "blend+prior"]
    assert models(leaderboard, "oof") == ["gbm", "blend"]
    last = leaderboard.iloc[-1]
    assert (last["lrap"], last["seconds"]) == (1.0, 3.0)


def test_outdated_blend_has_no_row(write: WriteRun, data: dict[str, str], tmp_path: Path) -> None:
    write("gbm", MEMBER)
    write("svm", MEMBER)
    members = {name: {"weight": 0.5, "id": read_manifest(tmp_path / name).id} for name in ("gbm", "svm")}
    write("blend", BLEND, config={"members": members})
    assert models(update_leaderboard(tmp_path, data), "oof") == ["gbm", "svm", "blend"]
    write("svm", MEMBER, oof=np.full((6, 3), 0.5))
    assert models(update_leaderboard(tmp_path, data), "oof") == ["gbm", "svm"]


def test_run_of_other_data_has_no_row(
    write: WriteRun, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("gbm", MEMBER)
    with_boxes = data_identity(replace(dataset, fp=dataset.tp))
    assert models(update_leaderboard(tmp_path, with_boxes), "oof") == []
    assert "gbm: belongs to other data (FP boxes of the data set" in capsys.readouterr().err


def test_writing_a_run_removes_the_leaderboard_of_the_earlier_run(
    write: WriteRun, data: dict[str, str], tmp_path: Path
) -> None:
    write("gbm", MEMBER)
    update_leaderboard(tmp_path, data)
    write("gbm", MEMBER)  # a command that is killed here leaves no leaderboard instead of an outdated one
    assert not (tmp_path / "leaderboard.csv").exists()


def test_printed_leaderboard_has_the_path_and_all_rows(
    write: WriteRun, data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("gbm", MEMBER)
    print_leaderboard(update_leaderboard(tmp_path, data), tmp_path)
    printed = capsys.readouterr().out
    assert str(tmp_path / "leaderboard.csv") in printed
    assert printed.count("gbm") == 2
