"""Small and unusual data sets: a model that predicts, or an error that says what is missing."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import soundfile

from features.data.dataset import load_dataset
from models.metrics import precision_and_recall
from pipelines.core.cli import training_parser
from pipelines.core.detector import Detector
from pipelines.core.evaluation import print_unverifiable, selection_metric
from pipelines.core.runs import Scores
from pipelines.core.task import load_task
from pipelines.core.truth import training_truth
from pipelines.reporting import false_alarms
from tests.conftest import error_message, run_command, tone

Box = tuple[int, int]
"""Number of a recording and of a species."""
FLAGS = {"gbm": ["--trials", "1", "--jobs", "1"], "gru": ["--epochs", "1", "--jobs", "1"], "blend": []}
SPECIES = ("coqui", "owl", "frog", "toad")


def write_boxes(
    root: Path,
    n_recordings: int,
    tp: Sequence[Box],
    *,
    n_species: int,
    fp: Sequence[Box] = (),
    seconds: float = 2.0,
    groups: str = "",
) -> Path:
    """Write a data set whose boxes cover the first half of a recording; a TP box is a tone in noise.

    Parameters
    ----------
    groups : one letter per recording; without it, there is no groups.csv.
    """
    (root / "train").mkdir(parents=True)
    names = [f"r{k:02d}" for k in range(n_recordings)]
    for k, name in enumerate(names):
        y = 0.01 * np.random.default_rng(k).standard_normal(int(seconds * 16_000))
        for species in (species for recording, species in tp if recording == k):
            y[: len(y) // 2] += tone(900 * (species + 1), seconds / 2, 16_000)
        soundfile.write(root / "train" / f"{name}.flac", y, 16_000)
    for table, boxes in (("train_tp", tp), ("train_fp", fp)):
        rows = [(names[k], s, 1, 0.0, 800.0 * (s + 1), seconds / 2, 1000.0 * (s + 1)) for k, s in boxes]
        columns = ["recording_id", "species_id", "songtype_id", "t_min", "f_min", "t_max", "f_max"]
        pd.DataFrame(rows, columns=columns).to_csv(root / f"{table}.csv", index=False)
    pd.DataFrame({"species_id": range(n_species), "name": SPECIES[:n_species]}).to_csv(
        root / "species.csv", index=False
    )
    if groups:
        pd.DataFrame({"recording_id": names, "group": list(groups)}).to_csv(root / "groups.csv", index=False)
    return root


def train(root: Path, results: Path, commands: Sequence[str]) -> str:
    """Run training commands, which must not fail or warn; return what they print."""
    printed = ""
    for command in commands:
        done = run_command(command, "--data", root, "--results", results, *FLAGS.get(command, []))
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        printed += done.stdout
    return printed


def reported(root: Path, model: Path, out: Path, *flags: str) -> dict[str, int]:
    """Run `predict` on the training recordings; return in how many recordings each species is reported."""
    done = run_command("predict", root / "train", "--model", model, "--out", out, "--jobs", "1", *flags)
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(out / "detections.csv").groupby("species")["recording_id"].nunique()
    return {name: int(found.get(name, 0)) for name in Detector.load(model).species}


@pytest.mark.parametrize(
    ("tp", "fp", "groups", "message"),
    [
        # Every recording contains the only species; with FP boxes in them, too.
        (
            [(k, 0) for k in range(6)],
            [],
            "",
            r"/train: every recording contains coqui; add recordings without it",
        ),
        (
            [(k, 0) for k in range(6)],
            [(0, 0)],
            "",
            r"/train: every recording contains coqui; .*FP boxes in these",
        ),
        (
            [(k, s) for k in range(6) for s in (0, 1)],
            [],
            "",
            r"contains coqui, owl; add .* without one of them",
        ),
        ([(k, 0) for k in range(6)], [(0, 1)], "", r"every recording contains coqui; "),  # owl has no TP box
        # One recording or one group has all TP boxes.
        (
            [(2, 0)],
            [(3, 0)],
            "",
            r"train_tp\.csv: all TP boxes are in recordings of one fold \(r02\), .*; add TP",
        ),
        (
            [(1, 0), (1, 1), (1, 2)],
            [],
            "",
            r"train_tp\.csv: all TP boxes are in recordings of one fold \(r01\)",
        ),
        ([(0, 0), (1, 1), (2, 0), (3, 1)], [], "aaaabb", r"one fold \(r00, r01, r02, \.\.\.\)"),
        ([(0, 0), (1, 1)], [], "aaaaaa", "cannot make folds of a single recording or group; add recordings"),
    ],
)
def test_data_set_that_cannot_be_learned_is_an_error_before_training(
    tmp_path: Path, tp: list[Box], fp: list[Box], groups: str, message: str
) -> None:
    n_species = max(species for _, species in [*tp, *fp]) + 1
    root = write_boxes(tmp_path / "data", 6, tp, fp=fp, n_species=n_species, groups=groups)
    for command in ("gbm", "gru"):
        done = run_command(command, "--data", root, "--results", tmp_path / "results")
        assert re.search(message, error_message(done))
    assert [file.name for file in (tmp_path / "results").iterdir()] == [".lock"]


def test_one_species_is_selected_by_auc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LRAP is 1 for any scores of one species. There are no FP boxes and no test recordings."""
    monkeypatch.setattr(false_alarms, "NOISE_MINUTES", 1)
    root, results = tmp_path / "data", tmp_path / "results"
    write_boxes(root, 9, [(k, 0) for k in range(0, 9, 2)], n_species=1)
    printed = train(root, results, [*FLAGS, "report"])
    assert printed.count("only one species has positive recordings, so AUC replaces LRAP") == 3
    assert "cannot be verified" not in printed
    for model in FLAGS:
        assert json.loads((results / model / "config.json").read_text())["metric"] == "auc"
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{results / 'optuna.db'}")
    assert study.study_name.startswith("gbm-auc-")
    leaderboard = pd.read_csv(results / "leaderboard.csv").set_index("model")
    assert (leaderboard["lrap"] == 1).all()
    assert study.best_trial is not None
    assert study.best_trial.value == pytest.approx(leaderboard.loc["gbm", "macro_auc"], abs=1e-5)
    assert leaderboard.loc["gbm", "macro_auc"] > 0.9
    assert reported(root, results / "gbm", tmp_path / "out", "--recall", "0.83")["coqui"] < 9
    assert reported(root, results / "blend", tmp_path / "out", "--precision", "0.66")["coqui"] > 0


def test_species_with_few_recordings_are_named_and_not_reported_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four species, one is in every recording, and the others have two boxes, one box, and none."""
    monkeypatch.setattr(false_alarms, "NOISE_MINUTES", 1)
    root, results = tmp_path / "data", tmp_path / "results"
    tp = [*((k, 0) for k in range(9)), (0, 1), (4, 1), (8, 2)]
    write_boxes(root, 9, tp, n_species=4, groups="aaabbbccc")
    printed = train(root, results, ["gbm", "report"])
    assert "3 groups, so 3 folds" in printed
    assert "1 species have no TP box and cannot be learned: toad" in printed
    assert (
        "3 species have fewer than 5 positive recordings, so their thresholds cannot be verified: " in printed
    )
    assert "verified: owl, frog, toad\n" in printed
    oof = Scores.load(results / "gbm" / "oof.npz")
    assert oof.fold is not None
    assert len(set(oof.fold)) == 3
    thresholds = Detector.load(results / "gbm").thresholds
    assert thresholds.n_positive.tolist() == [9, 2, 1, 0]
    found = reported(root, results / "gbm", tmp_path / "out", "--recall", "0.8")
    assert found["coqui"] >= 7
    assert found["frog"] < 9
    assert found["toad"] == 0

    table = species_table((results / "report.html").read_text(encoding="utf-8"))
    assert list(table["species"]) == list(SPECIES)
    assert list(table["positive recordings, training"]) == ["9", "2", "1", "0"]
    assert ["(not verifiable)" in cell for cell in table["threshold"]] == [False, True, True, True]
    shown = [float(cell.split()[0]) for cell in table["threshold"]]
    np.testing.assert_allclose(shown, thresholds.at(precision=0.7), atol=5e-4)
    truth = training_truth(load_dataset(root))
    achieved = precision_and_recall(truth, oof.scores, thresholds.at(precision=0.7))
    for name, values in zip(("precision", "recall"), achieved, strict=True):
        expected = ["-" if np.isnan(value) else f"{value:.3f}" for value in values]
        assert list(table[f"{name}, out of fold"]) == expected
    assert table["recall, out of fold"].iloc[3] == "-"


def species_table(page: str) -> pd.DataFrame:
    """Return the table of species in the report, as text."""
    table = page[page.index('class="sortable"') :]
    table = table[: table.index("</table>")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", table)]
    return pd.DataFrame(rows, columns=re.findall(r"<th>(.*?)</th>", table))


def test_recordings_shorter_than_a_window_can_be_trained(tmp_path: Path) -> None:
    """Each recording has a single window, which has a label."""
    root, results = tmp_path / "data", tmp_path / "results"
    tp, fp = [(k, k % 2) for k in range(4)], [(k, 1 - k % 2) for k in range(4)]
    write_boxes(root, 4, tp, fp=fp, n_species=2, seconds=0.5)
    assert "4 recordings, so 4 folds" in train(root, results, FLAGS.keys())
    found = reported(root, results / "blend", tmp_path / "out")
    assert set(found) == {"coqui", "owl"}


def test_smallest_data_set_of_one_species_can_be_trained(tmp_path: Path) -> None:
    """Two recordings with the species and one without. In one of the folds, no recording is without it."""
    root, results = tmp_path / "data", tmp_path / "results"
    write_boxes(root, 3, [(0, 0), (1, 0)], n_species=1)
    printed = train(root, results, FLAGS.keys())
    assert (
        printed.count("1 species has fewer than 5 positive recordings, so its thresholds cannot be verified")
        == 3
    )
    assert reported(root, results / "gbm", tmp_path / "out", "--recall", "0.8")["coqui"] <= 2


@pytest.mark.parametrize(
    ("groups", "flags", "n_folds", "line"),
    [
        ("abcdef", [], 5, ""),
        ("aabbcc", [], 3, "3 groups, so 3 folds"),
        ("aaabbb", [], 2, "2 groups, so 2 folds"),
        ("aabbcc", ["--folds", "2"], 2, ""),
    ],
)
def test_number_of_folds_follows_the_groups_unless_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], groups: str, flags: list[str], n_folds: int, line: str
) -> None:
    root = write_boxes(tmp_path / "data", 6, [(k, k % 2) for k in range(6)], n_species=2, groups=groups)
    given = ["--data", str(root), "--results", str(tmp_path / "results"), "--jobs", "1", *flags]
    task = load_task(training_parser("").parse_args(given))
    assert task.n_folds == n_folds
    assert task.metric == "lrap"
    printed = capsys.readouterr().out
    assert line in printed
    assert ("folds" in printed) == bool(line)


def test_metric_is_only_replaced_if_one_species_is_present(
    small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_dataset(small_dataset)
    assert selection_metric("lwlrap", dataset) == "lwlrap"
    assert capsys.readouterr().out == ""
    for file in ("train_labels.csv", "test_labels.csv", "train_fp.csv"):
        (small_dataset / file).unlink()
    tp = pd.read_csv(small_dataset / "train_tp.csv")
    tp[tp["species_id"] == 1].to_csv(small_dataset / "train_tp.csv", index=False)
    dataset = load_dataset(small_dataset)  # three species, of which one is present
    assert selection_metric("auc", dataset) == "auc"
    assert capsys.readouterr().out == ""
    assert selection_metric("lwlrap", dataset) == "auc"
    assert "so AUC replaces LWLRAP" in capsys.readouterr().out
    print_unverifiable(dataset)
    assert "3 species have fewer than 5 positive recordings" in capsys.readouterr().out
