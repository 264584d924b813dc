"""Runs on disk: they are written and read back, and invalid or inconsistent runs are rejected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.data.dataset import Dataset
from pipelines.core.detector import Detector
from pipelines.core.runs import (
    BASELINE,
    BLEND,
    EXTERNAL,
    FORMAT,
    MEMBER,
    RunError,
    Scores,
    has_run,
    is_outdated,
    read_config,
    read_member,
    read_run,
    read_runs,
    run_digest,
    run_names,
    write_submission,
)
from tests.pipelines.core.conftest import WriteRun


def change_config(folder: Path, **changes: Any) -> None:
    """Set entries of a run's config.json; None removes an entry."""
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))


def test_written_run_is_read_back(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    oof, test = np.linspace(0, 1, 18).reshape(6, 3), np.linspace(1, 0, 6).reshape(2, 3)
    write("gbm", MEMBER, oof=oof, test=test, config={"folds": 3}, metrics={"loss": [1.0]})
    run = read_run(tmp_path / "gbm")
    assert (run.name, run.kind) == ("gbm", MEMBER)
    np.testing.assert_array_equal(run.oof.scores, oof)
    np.testing.assert_array_equal(run.oof.fold, [0, 1, 2, 0, 1, 2])  # type: ignore[arg-type]
    assert list(run.oof.recording_id) == list(dataset.train)
    assert run.test is not None
    np.testing.assert_array_equal(run.test.scores, test)
    assert run.test.fold is None
    assert tuple(run.test.species) == dataset.species
    assert run.config["format"] == FORMAT
    assert run.config["folds"] == 3
    assert run.config["prior"] == pytest.approx(1 / 3)
    assert run.config["bands"] == [[500.0, 3000.0]] * 3
    assert run.metrics["loss"] == [1.0]
    assert run.metrics["seconds"] == {"oof": 1.23, "test": 4.56}
    assert len(run.metrics["per_species"]) == 3


def test_submission_has_the_prior_for_recordings_without_scores(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, prior = tmp_path / "submission.csv", np.array([0.5, 0.25, 0.125])
    write_submission(file, dataset, np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), prior=prior)
    expected = [["t0", 0.1, 0.2, 0.3], ["t1", 0.4, 0.5, 0.6]]
    assert pd.read_csv(file).to_numpy().tolist() == expected
    assert list(pd.read_csv(file).columns) == ["recording_id", "s0", "s1", "s2"]
    assert capsys.readouterr().err == ""

    write_submission(file, dataset.without(train=[], test=["t0"]), np.array([[0.4, 0.5, 0.6]]), prior=prior)
    assert sorted(pd.read_csv(file).to_numpy().tolist()) == [["t0", *prior], expected[1]]
    assert "submission.csv has the prior instead of scores for 1 recordings" in capsys.readouterr().err


def test_files_of_an_earlier_run_are_removed(write: WriteRun, tmp_path: Path) -> None:
    write("gbm", MEMBER)
    (tmp_path / "gbm" / "fold7.pt").write_bytes(b"")
    write("gbm", MEMBER, test=None)
    names = {file.name for file in (tmp_path / "gbm").iterdir()}
    assert names == {"config.json", "metrics.json", "oof.npz"}


def test_incomplete_folder_is_not_a_run(write: WriteRun, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(name, MEMBER)
    (tmp_path / "a" / "oof.npz").unlink()
    (tmp_path / "b" / "config.json").unlink()
    assert [has_run(tmp_path / name) for name in "abc"] == [False, False, True]
    assert run_names(tmp_path) == ["c"]
    assert run_names(tmp_path / "nowhere") == []
    with pytest.raises(RunError, match="a: no trained model here; give the folder of a run"):
        read_config(tmp_path / "a")


def test_runs_are_sorted_by_kind_then_name(write: WriteRun, tmp_path: Path) -> None:
    kinds = {"birdnet": EXTERNAL, "blend": BLEND, "prior": BASELINE, "svm": MEMBER, "gbm": MEMBER}
    for name, kind in kinds.items():
        write(name, kind)
    runs = read_runs(tmp_path)
    assert list(runs) == ["prior", "gbm", "svm", "birdnet", "blend"]
    assert {name: run.kind for name, run in runs.items()} == kinds


def test_blend_is_outdated_when_a_member_changes_or_is_missing(write: WriteRun, tmp_path: Path) -> None:
    write("gbm", MEMBER)
    write("gru", MEMBER)
    members = {name: {"weight": 0.5, "digest": run_digest(tmp_path / name)} for name in ("gbm", "gru")}
    write("blend", BLEND, config={"members": members})
    config = read_config(tmp_path / "blend")
    assert not is_outdated(tmp_path, config)
    assert not is_outdated(tmp_path, read_config(tmp_path / "gbm"))
    assert list(read_runs(tmp_path)) == ["gbm", "gru", "blend"]

    write("gru", MEMBER)  # with the same scores
    assert not is_outdated(tmp_path, config)
    write("gru", MEMBER, oof=np.full((6, 3), 0.5))
    assert is_outdated(tmp_path, config)
    assert list(read_runs(tmp_path)) == ["gbm", "gru"]

    write("gru", MEMBER)
    for file in ("oof.npz", "test.npz"):
        before = (tmp_path / "gru" / file).read_bytes()
        (tmp_path / "gru" / file).write_bytes(before + b"x")
        assert is_outdated(tmp_path, config), file
        (tmp_path / "gru" / file).write_bytes(before)
    assert not is_outdated(tmp_path, config)

    shutil.rmtree(tmp_path / "gbm")
    assert is_outdated(tmp_path, config)
    assert list(read_runs(tmp_path)) == ["gru"]


def test_member_must_have_a_run(dataset: Dataset, tmp_path: Path) -> None:
    message = (
        r"gbm: no complete run of gbm; run 'python pipelines/gbm\.py' with the same --data and --results"
    )
    with pytest.raises(RunError, match=message):
        read_member(tmp_path, "gbm", dataset)


def test_member_must_have_the_recordings_and_species_of_the_data_set(
    write: WriteRun, dataset: Dataset, tmp_path: Path
) -> None:
    write("gbm", MEMBER)
    assert read_member(tmp_path, "gbm", dataset).name == "gbm"
    for changed, message in (
        (replace(dataset, species=("coqui", "owl", "toad")), r"gbm.oof\.npz: its species differ"),
        (
            replace(dataset, train=dict(reversed(dataset.train.items()))),
            r"gbm.oof\.npz: its recordings differ",
        ),
        (replace(dataset, test={"t0": dataset.test["t0"]}), r"gbm.test\.npz: its recordings differ"),
    ):
        with pytest.raises(RunError, match=rf"{message}.*run 'python pipelines/gbm\.py'"):
            read_member(tmp_path, "gbm", changed)


def test_member_must_have_test_scores_if_there_are_test_recordings(
    write: WriteRun, dataset: Dataset, tmp_path: Path
) -> None:
    write("birdnet", EXTERNAL, test=None)
    with pytest.raises(RunError, match=r"birdnet: no test scores.*--scores birdnet=FILE"):
        read_member(tmp_path, "birdnet", dataset)
    assert read_member(tmp_path, "birdnet", replace(dataset, test={})).test is None


@pytest.mark.parametrize("name", ["../gbm", "/gbm", "a/b", "..", "."])
def test_name_of_a_member_must_not_be_a_path(trained: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(trained[1] / "gbm", tmp_path / "results" / "gbm")
    folder = shutil.copytree(trained[1] / "blend", tmp_path / "results" / "blend")
    change_config(folder, members={"gbm": {"weight": 1, "digest": ""}, name: {"weight": 0, "digest": ""}})
    for read in (read_config, read_run, Detector.load):
        with pytest.raises(RunError, match=r"blend: not a valid run .*a member's name is a path"):
            read(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": FORMAT + 1}, f"its format is {FORMAT + 1}, this version reads {FORMAT}"),
        ({"kind": "other"}, "its kind 'other' is unknown"),
        ({"kind": None}, "missing 'kind'"),
        ({"species": "coqui"}, "model must be a string and species a list"),
        ({"model": 3}, "model must be a string and species a list"),
        ({"members": ["gbm"]}, "members must be an object"),
        ({"members": {"gbm": {"weight": 1}}}, "a member has no weight or digest"),
    ],
)
def test_invalid_config_is_rejected(
    write: WriteRun, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    write("gbm", MEMBER)
    change_config(tmp_path / "gbm", **changes)
    with pytest.raises(
        RunError, match=rf"gbm: not a valid run of this version \(.*{reason}.*\); train or blend it again"
    ):
        read_config(tmp_path / "gbm")


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_config_that_is_not_an_object_is_rejected(write: WriteRun, tmp_path: Path, content: str) -> None:
    write("gbm", MEMBER)
    (tmp_path / "gbm" / "config.json").write_text(content)
    with pytest.raises(RunError, match="gbm: not a valid run of this version"):
        read_config(tmp_path / "gbm")


@pytest.mark.parametrize("name", ["oof.npz", "test.npz", "metrics.json"])
def test_damaged_file_of_a_run_is_rejected(write: WriteRun, tmp_path: Path, name: str) -> None:
    write("gbm", MEMBER)
    (tmp_path / "gbm" / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(RunError, match="gbm: not a valid run of this version"):
        read_run(tmp_path / "gbm")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"scores": np.full((2, 3), np.nan)}, "scores are not between 0 and 1"),
        ({"scores": np.full((2, 3), 1.5)}, "scores are not between 0 and 1"),
        ({"scores": np.zeros((3, 2))}, "unexpected shapes"),
        ({"scores": np.zeros((2, 3), int)}, "unexpected shapes or types"),
        ({"recording_id": np.arange(2)}, "unexpected shapes or types"),
        ({"fold": np.zeros(3, int)}, "fold is not one integer per recording"),
    ],
)
def test_scores_are_validated_when_loaded(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    valid = {
        "recording_id": np.array(["a", "b"]),
        "species": np.array(["coqui", "owl", "frog"]),
        "scores": np.zeros((2, 3)),
        "fold": np.zeros(2, int),
    }
    np.savez(tmp_path / "oof.npz", **valid)
    Scores.load(tmp_path / "oof.npz")
    np.savez(tmp_path / "oof.npz", **{**valid, **arrays})
    with pytest.raises(ValueError, match=reason):
        Scores.load(tmp_path / "oof.npz")


def test_scores_must_have_all_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "oof.npz", scores=np.zeros((2, 3)))
    with pytest.raises(TypeError, match="recording_id"):
        Scores.load(tmp_path / "oof.npz")


def test_run_of_the_version_without_a_format_is_rejected(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Earlier versions wrote neither `format` nor `kind`, and used different names of model files."""
    folder = shutil.copytree(trained[1] / "gbm", tmp_path / "results" / "gbm")
    change_config(folder, format=None, kind=None)
    for new, old in (("trees.json", "model.json"), ("species_bands.npz", "descriptor.npz")):
        (folder / new).rename(folder / old)
    message = (
        f"gbm: not a valid run of this version .its format is missing, this version reads {FORMAT}.; train"
    )
    for read in (Detector.load, read_run):
        with pytest.raises(RunError, match=message):
            read(folder)
    assert read_runs(folder.parent) == {}
