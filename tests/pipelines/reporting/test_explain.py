"""Explanations: decisive columns and frequencies of a model and of one window."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.frames.spectral import mel_centres
from pipelines.core.cli import training_parser
from pipelines.core.detector import Detector
from pipelines.core.member import ColumnScorer
from pipelines.core.task import load_task
from pipelines.core.training_windows import TrainingWindows
from pipelines.members.gbm import GBMScorer, default_parameters, make_model
from pipelines.reporting.explain import (
    N_COLUMNS,
    decisive_columns,
    decisive_for_window,
    importance_by_band,
    names_in_words,
)

SPECIES = ("coqui", "owl", "frog")


@pytest.fixture(scope="module")
def gbm(trained: tuple[Path, Path]) -> GBMScorer:
    (member,) = Detector.load(trained[1] / "gbm").members
    assert isinstance(member.scorer, GBMScorer)
    return member.scorer


def random_windows(gbm: GBMScorer) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.5, (20, gbm.model.n_features_in_)).astype(np.float32)


def test_only_models_of_columns_are_explained(trained: tuple[Path, Path], gbm: GBMScorer) -> None:
    assert isinstance(gbm, ColumnScorer)
    (member,) = Detector.load(trained[1] / "gru").members
    assert not isinstance(member.scorer, ColumnScorer)


def test_contributions_add_up_to_the_log_odds(gbm: GBMScorer) -> None:
    X = random_windows(gbm)
    for k in range(3):
        P = gbm.predict(X)[:, k]
        log_odds = np.log(P / (1 - P))
        added = gbm.contributions(X, k).sum(axis=1)
        np.testing.assert_allclose(log_odds - log_odds[0], added - added[0], atol=1e-6)


def test_importances_sum_to_one(gbm: GBMScorer) -> None:
    np.testing.assert_allclose(gbm.importance().sum(axis=1), 1)
    np.testing.assert_allclose(importance_by_band(gbm).sum(axis=1), 1)
    assert gbm.features.extents().shape == (gbm.model.n_features_in_, 2)


def test_columns_are_named_in_words(gbm: GBMScorer) -> None:
    names = names_in_words(gbm.features, SPECIES)
    assert names[gbm.features.names().index("s1_template_best")] == "owl: template best"
    assert names[gbm.features.names().index("band_0.11kHz_mean")] == "band 0.11kHz mean"


def test_decisive_columns_are_the_most_important_ones(gbm: GBMScorer) -> None:
    names = names_in_words(gbm.features, SPECIES)
    for share, found in zip(gbm.importance(), decisive_columns(gbm, SPECIES), strict=True):
        assert len(found) == N_COLUMNS
        assert found[0].column == names[share.argmax()]
        assert [decisive.value for decisive in found] == sorted(share, reverse=True)[:N_COLUMNS]


def test_decisive_columns_of_a_window_add_most_to_the_log_odds(gbm: GBMScorer) -> None:
    X = random_windows(gbm)[:1]
    added = gbm.contributions(X, 2)[0]
    found = decisive_for_window(gbm, X, 2, names=SPECIES)
    assert [decisive.value for decisive in found] == sorted(added, reverse=True)[:N_COLUMNS]
    assert found[0].column == names_in_words(gbm.features, SPECIES)[added.argmax()]


@pytest.mark.parametrize("frequency", [1200.0, 5000.0])
def test_narrow_call_is_explained_by_its_band(tmp_path: Path, frequency: float) -> None:
    """One species calls at one frequency in noise. The other one sweeps through different frequencies."""
    root, sr = tmp_path / "narrow", 32_000
    (root / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max"]
    t = np.arange(sr) / sr
    for k in range(24):
        y = 0.02 * rng.standard_normal(4 * sr)
        start = int(rng.uniform(0, 2.5) * sr)
        if k % 2:
            call = np.sin(2 * np.pi * (9_000 + 1_000 * t) * t)
            rows.append(f"r{k:02d},1,1,{start / sr},8000,{start / sr + 1},12000")
        else:
            call = np.sin(2 * np.pi * frequency * t) * (np.sin(2 * np.pi * 6 * t) > 0)
            # The box is much wider than the call, so the band must be found from the audio.
            rows.append(f"r{k:02d},0,1,{start / sr},300,{start / sr + 1},7800")
        y[start : start + sr] += 0.1 * call
        soundfile.write(root / "train" / f"r{k:02d}.wav", y, sr)
    (root / "train_tp.csv").write_text("\n".join(rows) + "\n")
    args = training_parser("").parse_args(["--data", str(root), "--results", str(tmp_path / "results")])
    windows = TrainingWindows(load_task(args))
    model = make_model(default_parameters() | {"n_estimators": 60}, seed=0, n_jobs=1).fit(*windows.whole())
    centres = mel_centres(windows.features.settings)
    found = centres[importance_by_band(GBMScorer(windows.features, model))[0].argmax()]
    assert abs(found - frequency) <= 500
    assert np.diff(centres).min() < 500  # the bands are closer together than the tolerance
