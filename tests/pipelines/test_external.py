"""Scores of another model are stored as a run, blended, and required again by predict."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.common.errors import UserError
from features.data.dataset import load_dataset
from models.scoring.aggregation import COMMON_SHRINKAGE
from models.scoring.calibration import calibrate
from pipelines.core.detector import Detector
from pipelines.core.external import external_run, read_external_scores
from pipelines.core.runs import RunError, Scores, read_run
from pipelines.core.truth import training_truth
from tests.conftest import read_scores, run_command, sign
from tests.fuzzing.commands import contents

SPECIES = ("coqui", "owl", "frog")


def call(command: str, *flags: str | Path) -> tuple[int, str, str]:
    """Return the exit status of a command, and what it prints."""
    done = run_command(command, *flags)
    return done.returncode, done.stdout, done.stderr


def scores_table(data: Path, seed: int = 0) -> pd.DataFrame:
    """Return the noisy truth of all recordings as a table of recording_id and one column per species."""
    dataset = load_dataset(data)
    assert dataset.train_labels is not None
    assert dataset.test_labels is not None
    truth = np.concatenate([dataset.train_labels, dataset.test_labels])
    P = 0.25 + 0.5 * truth + np.random.default_rng(seed).uniform(-0.2, 0.2, truth.shape)
    table = pd.DataFrame(P, columns=list(SPECIES))
    table.insert(0, "recording_id", [*dataset.train, *dataset.test])
    return table


@pytest.fixture(scope="module")
def blended(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small data set, and results whose blend contains the external member `other`."""
    data, whole = trained
    folder = tmp_path_factory.mktemp("external")
    results = shutil.copytree(whole, folder / "results")
    # The rows and columns have a different order. One column is named by number, one is not a species.
    table = scores_table(data).sample(frac=1, random_state=0).rename(columns={"owl": "s1"}).assign(toad=0.5)
    table[["recording_id", "frog", "toad", "coqui", "s1"]].to_csv(folder / "other.csv", index=False)
    status, stdout, stderr = call(
        "blend", "--data", data, "--results", results, "--scores", f"other={folder / 'other.csv'}"
    )
    assert status == 0, stderr
    assert "ignored 0 rows of other recordings and 1 columns of other species" in stdout
    return data, results


def test_scores_are_aligned_by_name(trained: tuple[Path, Path], tmp_path: Path) -> None:
    expected = scores_table(trained[0])
    table = expected.sample(frac=1, random_state=1)[["frog", "recording_id", "owl", "coqui"]]
    table.to_csv(tmp_path / "scores.csv", index=False)
    P = read_external_scores(tmp_path / "scores.csv", list(expected["recording_id"]), SPECIES)
    np.testing.assert_allclose(P, expected[list(SPECIES)])


def test_scores_are_stored_as_a_run(blended: tuple[Path, Path]) -> None:
    _, results = blended
    run = read_run(results / "other")
    assert run.kind == "external"
    assert run.metrics["oof"]["lrap"] == 1.0  # the noise does not change the order
    assert run.test is not None
    reference = Scores.load(results / "gbm" / "oof.npz")
    np.testing.assert_array_equal(run.oof.fold, reference.fold)
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    assert list(leaderboard["model"]) == ["prior", "background", "gbm", "gru", "other", "blend"] * 2


def test_stored_scores_stay_in_the_next_blend(blended: tuple[Path, Path], tmp_path: Path) -> None:
    data, before = blended
    results = shutil.copytree(before, tmp_path / "results")
    status, stdout, stderr = call("blend", "--data", data, "--results", results)
    assert status == 0, stderr
    assert "other" in stdout
    for split in ("oof.npz", "test.npz"):
        assert (results / "blend" / split).read_bytes() == (before / "blend" / split).read_bytes()
    status, stdout, stderr = call("blend", "--data", data, "--results", results, "--members", "gbm,gru")
    assert status == 0, stderr
    assert [member.name for member in Detector.load(results / "blend").members] == ["gbm", "gru"]


def test_blend_predicts_the_scores_of_training(blended: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = blended
    table = scores_table(data)
    table[table["recording_id"].str.startswith("t")].to_csv(tmp_path / "new.csv", index=False)
    flags = (data / "test", "--model", results / "blend", "--out", tmp_path / "out")
    status, _, stderr = call("predict", *flags, "--scores", f"other={tmp_path / 'new.csv'}")
    assert status == 0, stderr
    scores = read_scores(tmp_path / "out")
    np.testing.assert_allclose(scores, Scores.load(results / "blend" / "test.npz").scores, atol=1e-6)


def test_predict_names_what_is_missing(blended: tuple[Path, Path], tmp_path: Path) -> None:
    data, results = blended
    scores_table(data).iloc[:-1].to_csv(tmp_path / "new.csv", index=False)
    flags = (data / "test", "--model", results / "blend", "--out", tmp_path / "out")
    for extra, message in (
        (
            (),
            "the blend contains the member 'other'; give its scores of these recordings with --scores other=",
        ),
        (("--scores", f"other={tmp_path / 'new.csv'}"), "1 of 2 recordings are missing (t1); add them"),
        (
            ("--scores", f"other={tmp_path / 'new.csv'}", "--scores", f"third={tmp_path / 'new.csv'}"),
            "'third' is not part of this model; remove the flag",
        ),
        (
            ("--scores", f"other={tmp_path / 'new.csv'}", "--scores", f"other={tmp_path / 'new.csv'}"),
            "--scores other=... is given twice; keep one",
        ),
    ):
        status, _, stderr = call("predict", *flags, *extra)
        assert status == 2
        assert stderr.count("\n") == 1
        assert message in stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"contains scores of 'other'; give them as external\['other'\]"):
        Detector.load(results / "blend").score(data / "test" / "t0.flac")
    with pytest.raises(RunError, match="other: holds scores without a model"):
        Detector.load(results / "other")


MISTAKES = {
    "suffix in the ids": (
        lambda t: t.assign(recording_id=t["recording_id"] + ".flac"),
        "8 of 8 recordings are missing",
    ),
    "missing recording": (lambda t: t.iloc[1:], r"1 of 8 recordings are missing \(a0\)"),
    "missing species": (lambda t: t.drop(columns="owl"), r"1 of 3 species are missing \(owl\)"),
    "duplicate recording": (lambda t: pd.concat([t, t.iloc[:1]]), "line 10: duplicate recording_id 'a0'"),
    "duplicate species": (lambda t: t.assign(s1=t["owl"]), "columns 'owl' and 's1' are for one species"),
    "log odds": (
        lambda t: t.assign(owl=5.0),
        r"line 2: owl '5.0' is above 1; give probabilities from 0 to 1",
    ),
    "negative": (lambda t: t.assign(owl=-0.1), "line 2: owl '-0.1'"),
    "not a number": (lambda t: t.assign(owl="high"), "line 2: owl 'high'"),
    "empty cell": (lambda t: t.assign(owl=""), "line 2: owl ''"),
    "no ids": (lambda t: t.drop(columns="recording_id"), "missing column 'recording_id'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_file_is_one_clear_error(trained: tuple[Path, Path], tmp_path: Path, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    table = scores_table(trained[0])
    file = tmp_path / "scores.csv"
    change(table).to_csv(file, index=False)
    with pytest.raises(UserError, match=message) as error:
        read_external_scores(file, list(table["recording_id"]), SPECIES)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--scores", "scores.csv"), "'scores.csv' is not NAME=FILE"),
        (("--scores", "../x=scores.csv"), "'../x=scores.csv' is not NAME=FILE"),
        (("--scores", "gbm=scores.csv"), "'gbm' is the name of another run; give another name"),
        (("--scores", "GBM=scores.csv"), "'GBM' is the name of another run; give another name"),
        (("--scores", "prior=scores.csv"), "'prior' is the name of another run; give another name"),
        (("--scores", "other=missing.csv"), "missing.csv: file not found; add it, or correct the path"),
        (
            ("--scores", "other=scores.csv", "--scores", "other=scores.csv"),
            "--scores other=... is given twice",
        ),
        (
            ("--scores", "other=scores.csv", "--scores", "third=bad.csv"),
            "bad.csv line 2: owl '5.0' is above 1",
        ),
        (("--members", "gbm,nothing"), "--members nothing: not a member; give some of gbm, gru"),
        (("--members", "gbm"), "(found: gbm); run 'python pipelines/mlp.py'"),
        (
            ("--members", "other", "--scores", "other=scores.csv"),
            "one is trained here (found: other)",
        ),
    ],
)
def test_wrong_flags_leave_the_results_unchanged(
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    message: str,
) -> None:
    data, whole = trained
    results = shutil.copytree(whole, tmp_path / "results")
    table = scores_table(data)
    table.to_csv(tmp_path / "scores.csv", index=False)
    table.assign(owl=5.0).to_csv(tmp_path / "bad.csv", index=False)
    monkeypatch.chdir(tmp_path)
    status, _, stderr = call("blend", "--data", data, "--results", results, *flags)
    assert status == 2
    assert message in stderr
    assert contents(results) == contents(whole)


@pytest.mark.parametrize("name", ["Turdus sp.", "s0 trill 7.1 kHz", "{x}", "x[1"])
def test_name_of_a_species_does_not_change_the_message(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"recording_id": ["a"], name: [5.0]})
    table.to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(UserError, match=re.escape(f"scores.csv line 2: {name} '5.0' is above 1")):
        read_external_scores(tmp_path / "scores.csv", ["a"], (name,))
    table.assign(**{name: "x"}).to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(UserError, match=re.escape(f"scores.csv line 2: {name} 'x' is not a number")):
        read_external_scores(tmp_path / "scores.csv", ["a"], (name,))


def test_scores_of_one_recording_are_validated(blended: tuple[Path, Path]) -> None:
    data, results = blended
    detector = Detector.load(results / "blend")
    recording = data / "test" / "t0.flac"
    P = np.array([0.2, 0.8, 0.5])
    expected = detector.score(recording, {"other": P}).recording
    by_name = pd.Series({"frog": 0.5, "coqui": 0.2, "owl": 0.8, "toad": 1.0})
    pd.testing.assert_series_equal(detector.score(recording, {"other": by_name}).recording, expected)
    for wrong in (0.5, P[:2], P + 1, P * np.nan):
        with pytest.raises(UserError, match=r"external\['other'\]: must be 3 probabilities from 0 to 1"):
            detector.score(recording, {"other": wrong})  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"external\['other'\]: missing species frog"):
        detector.score(recording, {"other": by_name.drop("frog")})


def test_scores_are_calibrated_with_the_given_folds(trained: tuple[Path, Path]) -> None:
    dataset = load_dataset(trained[0])
    P = scores_table(trained[0])[list(SPECIES)].to_numpy()
    fold = np.array([0, 0, 1, 1, 2, 2])
    run = external_run("other", P, dataset, fold=fold, holdout=np.ones(6, bool), metric="lrap", seed=0)
    truth = training_truth(dataset)
    expected, _ = calibrate(P[: len(truth)], truth, fold, shrinkage=COMMON_SHRINKAGE)
    np.testing.assert_array_equal(run.oof, expected)
    np.testing.assert_array_equal(run.fold, fold)


def test_member_without_weight_is_not_needed(blended: tuple[Path, Path], tmp_path: Path) -> None:
    data, before = blended
    results = shutil.copytree(before, tmp_path / "results")
    config = json.loads((results / "blend" / "config.json").read_text())
    for name, weight in (("gbm", 1.0), ("gru", 0.0), ("other", 0.0)):
        config["members"][name]["weight"] = weight
    (results / "blend" / "config.json").write_text(json.dumps(config))
    sign(results / "blend")
    detector = Detector.load(results / "blend")
    assert [member.name for member in detector.members] == ["gbm"]
    scored = detector.score(data / "test" / "t0.flac")
    alone = Detector.load(results / "gbm").score(data / "test" / "t0.flac")
    np.testing.assert_allclose(scored.recording, alone.recording, rtol=1e-6)
