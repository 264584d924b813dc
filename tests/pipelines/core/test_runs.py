"""Runs on disk: they are written and read back, and invalid or inconsistent runs are rejected."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.data.dataset import Dataset
from features.data.identity import data_identity
from features.frames.spectral import SpectralSettings
from pipelines.core.detector import Detector
from pipelines.core.manifest import Manifest
from pipelines.core.run_config import BASELINE, BLEND, EXTERNAL, MEMBER
from pipelines.core.runs import (
    FORMAT,
    RunError,
    Scores,
    has_run,
    is_outdated,
    read_config,
    read_manifest,
    read_member,
    read_run,
    read_runs,
    read_whole,
    run_names,
    write_submission,
)
from tests.conftest import sign
from tests.pipelines.core.conftest import WriteRun

SPECTRAL = asdict(SpectralSettings())


def change_config(folder: Path, **changes: Any) -> None:
    """Set entries of a run's config.json; None removes an entry."""
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)


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
    assert names == {"config.json", "metrics.json", "oof.npz", "manifest.json"}


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


def test_runs_are_sorted_by_kind_then_name(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    kinds = {"birdnet": EXTERNAL, "blend": BLEND, "prior": BASELINE, "svm": MEMBER, "gbm": MEMBER}
    for name, kind in kinds.items():
        write(name, kind)
    runs = read_runs(tmp_path, data_identity(dataset))
    assert list(runs) == ["prior", "gbm", "svm", "birdnet", "blend"]
    assert {name: run.kind for name, run in runs.items()} == kinds


def test_blend_is_outdated_when_a_member_changes_or_is_missing(
    write: WriteRun, dataset: Dataset, tmp_path: Path
) -> None:
    data = data_identity(dataset)
    write("gbm", MEMBER)
    write("gru", MEMBER)
    members = {name: {"weight": 0.5, "id": read_manifest(tmp_path / name).id} for name in ("gbm", "gru")}
    write("blend", BLEND, config={"members": members})
    config = read_config(tmp_path / "blend")
    assert not is_outdated(tmp_path, config)
    assert not is_outdated(tmp_path, read_config(tmp_path / "gbm"))
    assert list(read_runs(tmp_path, data)) == ["gbm", "gru", "blend"]

    write("gru", MEMBER, seconds={"oof": 7.0, "test": 8.0})  # with the same scores
    assert not is_outdated(tmp_path, config)
    write("gru", MEMBER, oof=np.full((6, 3), 0.5))
    assert is_outdated(tmp_path, config)
    assert list(read_runs(tmp_path, data)) == ["gbm", "gru"]

    shutil.rmtree(tmp_path / "gbm")
    assert is_outdated(tmp_path, config)
    assert list(read_runs(tmp_path, data)) == ["gru"]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        *product(("oof.npz", "test.npz", "metrics.json", "config.json", "model.bin"), ("changed", "longer")),
        *product(("test.npz", "metrics.json", "model.bin"), ("removed",)),  # a run has the other two
    ],
)
def test_file_that_differs_from_the_manifest_is_named(
    write: WriteRun, tmp_path: Path, file: str, change: str
) -> None:
    class Model:
        def save(self, folder: Path) -> None:
            (folder / "model.bin").write_bytes(bytes(range(100)))

    write("gbm", MEMBER, parts=(Model(),))
    path = tmp_path / "gbm" / file
    content = path.read_bytes()
    if change == "removed":
        path.unlink()
    else:  # a space keeps JSON valid
        path.write_bytes(content + b" " if change == "longer" else content[:-1] + b" ")
    reason = "is missing" if change == "removed" else "has changed since the run was written"
    with pytest.raises(RunError, match=rf"gbm: not a valid run .*{file} {reason}.*train or blend it again"):
        read_run(tmp_path / "gbm")


def test_submission_may_be_edited(write: WriteRun, tmp_path: Path) -> None:
    write("gbm", MEMBER)
    (tmp_path / "gbm" / "submission.csv").write_text("edited")
    assert read_run(tmp_path / "gbm").name == "gbm"


def test_run_that_is_replaced_while_it_is_read_is_read_again(write: WriteRun, tmp_path: Path) -> None:
    write("gbm", MEMBER)
    first = read_manifest(tmp_path / "gbm")
    seen = []

    def read(config: dict[str, Any], manifest: Manifest) -> str:
        seen.append(manifest.id)
        if len(seen) == 1:
            write("gbm", MEMBER, oof=np.full((6, 3), 0.5))
            raise ValueError("a file of the other run")
        return "whole"

    assert read_whole(tmp_path / "gbm", read) == "whole"
    assert seen == [first.id, read_manifest(tmp_path / "gbm").id]
    assert seen[0] != seen[1]


def test_readers_see_the_old_run_or_the_new_one(write: WriteRun, tmp_path: Path) -> None:
    """A run is replaced again and again while it is read. Both of its score files have one value."""

    def write_run(value: float) -> None:
        write("gbm", MEMBER, oof=np.full((6, 3), value), test=np.full((2, 3), value))

    write_run(0.0)
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(lambda: [write_run(float(k % 2)) for k in range(12)])
        seen = set()
        while not writing.done():
            run = read_run(tmp_path / "gbm")
            assert run.test is not None
            values = np.unique([*run.oof.scores.flat, *run.test.scores.flat])
            assert len(values) == 1
            seen.add(float(values[0]))
        writing.result()
    assert seen == {0.0, 1.0}


def test_member_must_have_a_run(dataset: Dataset, tmp_path: Path) -> None:
    message = (
        r"gbm: no complete run of gbm; run 'python pipelines/gbm\.py' with the same --data and --results"
    )
    with pytest.raises(RunError, match=message):
        read_member(tmp_path, "gbm", data_identity(dataset))


def test_member_must_have_been_trained_on_the_same_data(
    write: WriteRun, dataset: Dataset, tmp_path: Path
) -> None:
    write("gbm", MEMBER)
    assert read_member(tmp_path, "gbm", data_identity(dataset)).name == "gbm"
    first, *_ = dataset.train
    other = dict.fromkeys(dataset.train, dataset.train[first])
    for part, changed in {
        "species": replace(dataset, species=("coqui", "owl", "toad")),
        "training recordings": replace(dataset, train=dict(reversed(dataset.train.items()))),
        "TP boxes": replace(dataset, tp=dataset.tp.assign(t_max=dataset.tp["t_max"] + 0.1)),
        "FP boxes": replace(dataset, fp=dataset.tp),
        "training labels": replace(dataset, train_labels=np.ones((len(dataset.train), 3))),
        "groups": replace(dataset, groups=np.zeros(len(dataset.train))),
        "test recordings": replace(dataset, test={"t0": dataset.test["t0"]}),
        "test labels": replace(dataset, test_labels=np.ones((len(dataset.test), 3))),
    }.items():
        with pytest.raises(
            RunError, match=rf"gbm: belongs to other data \({part} .*run 'python pipelines/gbm"
        ):
            read_member(tmp_path, "gbm", data_identity(changed))
    with pytest.raises(RunError, match="training recordings"):  # the same ids with other audio
        read_member(tmp_path, "gbm", data_identity(replace(dataset, train=other)))


def test_scores_of_other_data_must_be_given_again(write: WriteRun, dataset: Dataset, tmp_path: Path) -> None:
    without_test = replace(dataset, test={}, test_labels=None)
    write("birdnet", EXTERNAL)
    with pytest.raises(RunError, match=r"birdnet: belongs to other data.*--scores birdnet=FILE"):
        read_member(tmp_path, "birdnet", data_identity(without_test))


@pytest.mark.parametrize("name", ["../gbm", "/gbm", "a/b", "..", "."])
def test_name_of_a_member_must_not_be_a_path(trained: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(trained[1] / "gbm", tmp_path / "results" / "gbm")
    folder = shutil.copytree(trained[1] / "blend", tmp_path / "results" / "blend")
    change_config(folder, members={"gbm": {"weight": 1.0, "id": ""}, name: {"weight": 0.0, "id": ""}})
    for read in (read_config, read_run, Detector.load):
        with pytest.raises(RunError, match=r"blend: not a valid run .*a member's name is a path"):
            read(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": FORMAT + 1}, f"its format is {FORMAT + 1}, this version reads {FORMAT}"),
        ({"kind": "other"}, "its kind 'other' is not one of baseline, member"),
        ({"kind": None}, "its kind None is not one of"),
        ({"species": "coqui"}, "species: Input should be a valid list"),
        ({"species": []}, "species: List should have at least 1 item"),
        ({"model": 3}, "model: Input should be a valid string"),
        ({"prior": 1.0}, "prior: Input should be less than 1"),
        ({"prior": float("nan")}, "prior: Input should be a finite number"),
        ({"bands": [[3000, 500]] * 3}, r"\[3000\.0, 500\.0\] is not a band"),
        ({"bands": [[500, 3000]]}, "there are 1 bands for 3 species"),
        ({"longest": 0}, "longest: Input should be greater than 0"),
        ({"longest": True}, "longest: Input should be a valid integer"),
        ({"sample_rate": -1}, "sample_rate: Input should be greater than 0"),
        ({"folds": 10**8}, "folds: Input should be less than or equal to"),
        ({"pooling": "median"}, "pooling: .*'median' is not one of max, top2"),
        ({"calibration": [[1.0, 0.0]]}, "calibration is not a slope and an offset for each species"),
        ({"window": {"length": 1e9, "hop": 1.0, "min_overlap": 0.5}}, "window.length: Input should be less"),
        ({"spectral": {**SPECTRAL, "sr": 0}}, "spectral.sr: Input should be greater"),
        ({"spectral": {**SPECTRAL, "hop_length": 0}}, "spectral.hop_length: Input should be greater"),
        ({"spectral": {**SPECTRAL, "n_fft": 2**31}}, "spectral.n_fft: Input should be less"),
        ({"spectral": {**SPECTRAL, "n_mels": 10**6}}, "spectral.n_mels: Input should be less"),
        ({"spectral": {**SPECTRAL, "fmax": 1.0}}, "fmin 50.0 and fmax 1.0 are not a band below 16000.0 Hz"),
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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"members": ["gbm"]}, "members: Input should be a valid dict"),
        ({"members": {}}, "members: Dictionary should have at least 1 item"),
        ({"members": {"gbm": {"weight": 1.0}}}, "members.gbm.id: Field required"),
        ({"members": {"gbm": {"weight": 100.0, "id": ""}}}, "members.gbm.weight: Input should be less"),
        ({"members": {"gbm": {"weight": float("nan"), "id": ""}}}, "members.gbm.weight: .*finite"),
        ({"members": {"gbm": {"weight": 0.5, "id": ""}}}, "the weights of the members have the sum 0.5"),
        ({"space": "cubic"}, "space: .*'cubic' is not one of"),
    ],
)
def test_invalid_blend_is_rejected(
    write: WriteRun, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    write("gbm", MEMBER)
    write("blend", BLEND)
    change_config(tmp_path / "blend", **changes)
    for read in (read_config, read_run, Detector.load):
        with pytest.raises(RunError, match=rf"blend: not a valid run of this version \(.*{reason}"):
            read(tmp_path / "blend")


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", "[" * 100_000])
def test_config_that_is_not_an_object_is_rejected(write: WriteRun, tmp_path: Path, content: str) -> None:
    write("gbm", MEMBER)
    (tmp_path / "gbm" / "config.json").write_text(content)
    with pytest.raises(RunError, match="gbm: not a valid run of this version"):
        read_config(tmp_path / "gbm")


@pytest.mark.parametrize("name", ["oof.npz", "test.npz", "metrics.json"])
def test_damaged_file_of_a_run_is_rejected(write: WriteRun, tmp_path: Path, name: str) -> None:
    write("gbm", MEMBER)
    (tmp_path / "gbm" / name).write_bytes(b"PK\x03\x04")
    sign(tmp_path / "gbm")
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
    (folder / "manifest.json").unlink()
    message = (
        f"gbm: not a valid run of this version .its format is missing, this version reads {FORMAT}.; train"
    )
    for read in (Detector.load, read_run):
        with pytest.raises(RunError, match=message):
            read(folder)
    assert read_runs(folder.parent, {}) == {}
