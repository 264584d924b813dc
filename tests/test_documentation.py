"""README, CONTRIBUTING and docstrings: examples run, commands and their flags exist, linked files exist."""

import ast
import contextlib
import doctest
import importlib
import io
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from features.columns import window_features
from features.columns.block import ColumnBlock, TrainingBoxes
from features.data.dataset import load_dataset
from features.frames.spectral import SpectralSettings
from features.frames.store import frames_of
from tests.conftest import ROOT, run_command

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md"]
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for package in ("features", "models", "pipelines")
    for file in (ROOT / package).rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)
PUBLIC = {
    "features.data.dataset": ("load_dataset",),
    "models.metrics": ("lrap", "lwlrap", "auc_per_species", "ap_per_species", "evaluate"),
    "models.estimators.one_vs_rest_gbm": ("OneVsRestGBM",),
    "models.estimators.ridge_discriminant": ("RidgeDiscriminant",),
    "models.estimators.log_odds_mean": ("LogOddsMean",),
    "models.estimators.mlp": ("MLPClassifier",),
    "models.estimators.gru": ("GRUClassifier",),
    "models.estimators.cnn": ("CNNClassifier",),
}


def code_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    # The examples of different docstrings share no variables. Each starts with the names of its module.
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0, output.getvalue()


@pytest.mark.parametrize("module", PUBLIC)
def test_public_objects_have_an_example(module: str) -> None:
    for name in PUBLIC[module]:
        assert ">>>" in (getattr(importlib.import_module(module), name).__doc__ or ""), f"{module}.{name}"


def test_readme_python_example_runs(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (code,) = code_blocks(README, "python")
    data, results = trained
    shutil.copytree(results / "blend", tmp_path / "results" / "synthetic" / "blend")
    for member in ("gbm", "gru"):
        shutil.copytree(results / member, tmp_path / "results" / "synthetic" / member)
    shutil.copy(data / "test" / "t0.flac", tmp_path / "recording.wav")
    shown = []
    with contextlib.chdir(tmp_path):
        names: dict[str, object] = {}
        for statement in ast.parse(code).body:
            source = ast.unparse(statement)
            if isinstance(statement, ast.Expr):
                shown.append(eval(source, names))
            else:
                exec(source, names)
    recording, windows, detections = shown
    assert list(recording.index) == ["coqui", "owl", "frog"]
    assert recording.between(0, 1).all()
    assert list(windows.columns) == ["start", "end", "coqui", "owl", "frog"]
    columns = "species, t_min, t_max, f_min, f_max, score, threshold, verifiable"
    assert f"DataFrame: {columns}" in code
    assert list(detections.columns) == columns.split(", ")


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 172


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    folder = (ROOT / page).parent
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (folder / link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "results/README.md"])
def test_commands_and_their_flags_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    mentioned = re.findall(r"(?<![\w/])(?:(pipelines|tests)/)?([a-z]+)\.py((?: [^`\n#;]*)?)", text)
    assert len(mentioned) >= 3
    for folder, command, rest in mentioned:
        if command == "step":  # the variable of a loop over commands
            continue
        script = ROOT / (folder or "pipelines") / f"{command}.py"
        if not script.exists() and not folder and list(ROOT.rglob(f"{command}.py")):
            continue  # a module in a table, not a command
        assert script.exists(), f"{page}: {command}.py"
        for flag in re.findall(r"--[a-z]+", rest):
            known = help_of(command) if folder != "tests" else script.read_text(encoding="utf-8")
            assert flag in known, f"{page}: {command}.py has no flag {flag}"


@cache
def help_of(command: str) -> str:
    """Return the help text of a command and of its subcommands."""
    text = run_command(command, "--help").stdout
    subcommands = re.findall(
        r"^    (import|export|queue|similar|apply|estimate|rounds|estimates) ", text, re.MULTILINE
    )
    return text + "".join(run_command(command, name, "--help").stdout for name in subcommands)


@pytest.mark.parametrize(
    "command",
    [
        "gbm",
        "mlp",
        "gru",
        "cnn",
        "spectrum",
        "blend",
        "predict",
        "review",
        "report",
        "bench",
        "ablation",
        "simulate",
    ],
)
def test_help_has_no_empty_or_double_default(command: str) -> None:
    text = help_of(command)
    assert "(default: None)" not in text
    assert "(default: [])" not in text
    assert "(default: False)" not in text
    assert not re.search(r"default[^()]*\)\s*\(default", text)


def test_contributing_block_example_works(trained: tuple[Path, Path]) -> None:
    (code,) = [block for block in code_blocks(CONTRIBUTING, "python") if "ColumnBlock" in block]
    names = {"dataclass": dataclass, "ColumnBlock": ColumnBlock, "np": np}
    exec(code, names)
    dataset, settings = load_dataset(trained[0]), SpectralSettings()
    training = TrainingBoxes(
        boxes=dataset.tp,
        fold=np.zeros(len(dataset.tp), int),
        group=np.zeros(len(dataset.tp), int),
        n_species=3,
        n_folds=2,
        load=lambda recording_id: frames_of(dataset.train[recording_id], settings),
        seed=0,
    )
    frames, starts = frames_of(dataset.train["a0"], settings), np.array([0, 25])
    before = window_features.WindowFeatures.fit(settings, training)
    with mock.patch.dict(window_features.BLOCKS, {"bandwidth": names["Bandwidth"]}):
        features = window_features.WindowFeatures.fit(settings, training)
    assert features.names() == [*before.names(), "bandwidth_mean"]
    X = features.transform(frames, starts, 50)
    assert X.shape == (2, len(features.names()))
    expected = (frames.levels[25:75] > 6).sum(axis=1).mean()
    assert X[1, -1] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_array_equal(features.outside(1).names(), features.names())
