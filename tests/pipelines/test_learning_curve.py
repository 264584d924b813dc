"""The learning curve: shares of the boxes, and the table of gains."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.dataset import load_dataset
from pipelines.benchmarks import label_shares
from pipelines.benchmarks.label_shares import with_share
from pipelines.core.train import default_arguments
from tests.conftest import error_message, run_command, write_small_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("curve") / "small", seconds=4.0)


def test_share_of_the_boxes_is_random_and_keeps_each_species(data: Path) -> None:
    dataset = load_dataset(data)
    assert with_share(dataset, 1.0, seed=0).tp.equals(dataset.tp)
    few = [with_share(dataset, 0.1, seed) for seed in range(8)]
    for one in few:
        assert one.train_labels is None
        for boxes, whole in ((one.tp, dataset.tp), (one.fp, dataset.fp)):
            assert sorted(boxes["species_id"]) == [0, 1, 2]
            assert boxes.equals(whole.loc[boxes.index])
    assert len({tuple(one.tp.index) for one in few}) > 1


def test_table_has_the_gain_of_each_variant(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        label_shares, "default_arguments", lambda *args: default_arguments(*args, "--epochs", "1")
    )
    encoder = tmp_path / "cola.pt"
    done = run_command("pretrain", data / "train", "--out", encoder, "--epochs", "1", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    flags = ("--data", data, "--results", tmp_path / "results", "--folds", "3", "--jobs", "1")
    shares = ("--shares", "1", "0.5", "--seeds", "2", "--pretrained", encoder)
    done = run_command("learning_curve", "gru", *flags, *shares)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "learning_curve_gru.csv")
    assert table["variant"].value_counts().to_dict() == {"boxes only": 2, "self-training": 2, "cola": 2}
    assert set(table["seeds"]) == {2}
    assert table[["oof_lrap", "test_lrap"]].notna().all(axis=None)
    base = table[table["variant"] == "boxes only"].set_index(["model", "share"])
    for split in ("oof", "test"):
        gain = (
            table[f"{split}_lrap"]
            - base.loc[pd.MultiIndex.from_frame(table[["model", "share"]]), f"{split}_lrap"].to_numpy()
        )
        np.testing.assert_allclose(table[f"{split}_gain"], gain, atol=2e-4)
        assert (table[f"{split}_gain_low"] <= table[f"{split}_gain"]).all()
    assert f"{tmp_path / 'results' / 'learning_curve_gru.csv'}" in done.stdout

    def fails(*_: object) -> None:
        raise AssertionError("is trained again")

    monkeypatch.setattr(label_shares, "finish", fails)
    content = (tmp_path / "results" / "learning_curve_gru.csv").read_bytes()
    done = run_command("learning_curve", "gru", *flags, *shares)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "learning_curve_gru.csv").read_bytes() == content
    damaged = next((tmp_path / "results" / "learning_curve").glob("*.npz"))
    damaged.write_bytes(b"no scores")
    assert f"error: {damaged}: " in run_command("learning_curve", "gru", *flags, *shares).stderr


def test_too_small_a_share_is_an_error_before_training(data: Path, tmp_path: Path) -> None:
    """With one box per species and two folds, all boxes can be in one fold; with some seed they are."""
    flags = ("--data", data, "--results", tmp_path, "--folds", "2", "--shares", "0.1", "--seeds", "20")
    message = error_message(run_command("learning_curve", "gru", *flags))
    assert re.search(
        r"0\.1 of the boxes, seed \d+: .*train_tp\.csv: all TP boxes are in .* larger share", message
    )
    assert not (tmp_path / "learning_curve").exists()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("gru", "cnn", "--pretrained", "a.pt"), "error: --pretrained: an encoder is for one model"),
        (("gru", "--pretrained", "x/a.pt", "y/a.pt"), "error: --pretrained: two variants have the same name"),
        (("gru", "--pretrained", "missing.pt"), "error: --pretrained missing.pt: does not exist; write it"),
        (("gbm", "--pretrained", "a.pt"), "error: --pretrained: gbm does not start from an encoder; leave"),
        (("gru", "--shares", "2"), "2 is not above 0 and at most 1"),
        (("gru", "--shares", "nan"), "nan is not above 0 and at most 1"),
        (("spectrum",), "invalid choice: 'spectrum'"),
    ],
)
def test_invalid_flags(data: Path, tmp_path: Path, flags: tuple[str, ...], problem: str) -> None:
    done = run_command("learning_curve", *flags, "--data", data, "--results", tmp_path)
    assert done.returncode == 2
    assert problem in done.stderr
