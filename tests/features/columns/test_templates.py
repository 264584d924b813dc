from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from features.columns.sequences import steps
from features.columns.templates import (
    MOST_TEMPLATES,
    QUIET,
    Templates,
    correlations,
    cut_templates,
    template_columns,
    template_names,
    window_correlations,
)
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mel_centres

SETTINGS = SpectralSettings()
CENTRES = mel_centres(SETTINGS)
LOW, HIGH = 20, 32  # mel bands of the call


def noise(n_frames: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    levels = np.abs(rng.normal(0, 2, (n_frames, 64))).astype(np.float32)
    return Frames(levels - 60, levels, np.zeros((n_frames, 7), np.float32))


def sweep(frames: Frames, first: int, level: float = 20) -> None:
    """Add 0.4 s that rise through the call's bands."""
    for k in range(20):
        frames.levels[first + k, LOW + k * (HIGH - LOW) // 20] += level


def box(recording_id: str, first: int, species: int = 0) -> tuple:
    return (recording_id, species, first / 50, first / 50 + 0.4, CENTRES[LOW] - 1, CENTRES[HIGH - 1] + 1)


def boxes(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["recording_id", "species_id", "t_min", "t_max", "f_min", "f_max"])


@pytest.fixture
def templates() -> Templates:
    """Of a recording with a sweep at 2 s."""
    frames = noise(300)
    sweep(frames, 100)
    return cut_templates(boxes(box("a", 100)), lambda _: frames, 2, SETTINGS, 0)


def test_a_template_is_the_box_of_zero_mean_and_unit_norm(templates: Templates) -> None:
    assert len(templates) == 1
    assert templates.band.tolist() == [[LOW, HIGH]]
    assert templates.recording.tolist() == ["a"]
    patch = templates.patches[0, : templates.n_steps[0], LOW:HIGH]
    assert patch.sum() == pytest.approx(0, abs=1e-5)
    assert np.linalg.norm(templates.patches) == pytest.approx(1)
    assert np.linalg.norm(patch) == pytest.approx(1)


def test_a_call_is_found_where_it_sounds_however_loud(templates: Templates) -> None:
    frames = noise(600, seed=1)
    sweep(frames, 420, level=10)
    found = window_correlations(frames, np.arange(0, 551, 25), 50, templates)[:, 0]
    assert found.argmax() in (16, 17)  # 400 to 450 and 425 to 475
    assert found.max() > 0.5 > 2 * np.median(found)


def test_correlations_equal_their_slow_twin(templates: Templates) -> None:
    rng = np.random.default_rng(0)
    many = Templates(
        patches=np.zeros((3, 16, 64), np.float32),
        band=np.array([[0, 64], [10, 14], [60, 64]]),
        n_steps=np.array([16, 4, 8]),
        species=np.zeros(3, int),
        recording=np.array(list("aaa")),
    )
    for patch, (low, high), n in zip(many.patches, many.band, many.n_steps, strict=True):
        values = rng.normal(size=(n, high - low))
        values -= values.mean()
        patch[:n, low:high] = values / np.linalg.norm(values)
    levels = np.maximum(steps(noise(80).levels), 0)
    found = correlations(levels, many)
    for t in range(len(levels)):
        for k in range(3):
            n, (low, high) = many.n_steps[k], many.band[k]
            around = np.zeros((n, high - low))
            for i in range(n):
                if 0 <= t - n // 2 + i < len(levels):
                    around[i] = levels[t - n // 2 + i, low:high]
            centred = around - around.mean()
            expected = (centred * many.patches[k, :n, low:high]).sum()
            expected /= np.linalg.norm(centred) + QUIET * np.sqrt(n * (high - low))
            assert found[t, k] == pytest.approx(expected, abs=1e-5)


def test_no_correlation_exceeds_one_and_silence_has_none(templates: Templates) -> None:
    assert np.abs(correlations(np.maximum(steps(noise(400, 3).levels), 0), templates)).max() < 1
    silence = np.zeros((30, 64), np.float32)
    assert (correlations(silence, templates) == 0).all()


def test_a_long_recording_is_correlated_in_blocks(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, starts = noise(1000, 2), np.arange(0, 951, 25)
    whole = window_correlations(frames, starts, 50, templates)
    monkeypatch.setattr("features.columns.templates.BLOCK", 7)
    np.testing.assert_allclose(window_correlations(frames, starts, 50, templates), whole, rtol=1e-5)


def test_short_recordings_have_a_row(templates: Templates) -> None:
    for n_frames in (1, 2, 7):
        found = window_correlations(noise(n_frames), np.array([0]), 50, templates)
        assert found.shape == (1, 1)
        assert np.isfinite(found).all()
    empty = cut_templates(boxes(box("a", 0)), lambda _: noise(1), 2, SETTINGS, 0)
    assert len(empty) == 0
    assert window_correlations(noise(100), np.array([0, 25]), 50, empty).shape == (2, 0)


def test_no_species_has_more_than_its_part() -> None:
    rows = [box("a", 2 * k, species=k % 2) for k in range(140)]
    found = cut_templates(boxes(*rows), lambda _: noise(400), MOST_TEMPLATES // 32, SETTINGS, 0)
    assert np.bincount(found.species).tolist() == [32, 32]
    again = cut_templates(boxes(*rows), lambda _: noise(400), MOST_TEMPLATES // 32, SETTINGS, 0)
    np.testing.assert_array_equal(found.patches, again.patches)


def test_columns_are_best_top3_and_lead_of_the_usable() -> None:
    species = np.array([0, 0, 0, 0, 1, 1])
    found = np.array([[0.9, 0.5, 0.4, 0.3, 0.6, 0.1], [0.1, -0.2, 0.0, 0.0, 0.8, 0.2]])
    usable = np.array([[True] * 6, [True, True, True, True, False, True]])
    X = template_columns(found, species, usable, np.array([4, 2, 0]))
    columns = dict(zip(template_names(3), X.T, strict=True))
    np.testing.assert_allclose(columns["s0_template_best"], [0.9, 0.1])
    np.testing.assert_allclose(columns["s0_template_top3"], [0.6, 0.1 / 3], rtol=1e-6)
    np.testing.assert_allclose(columns["s1_template_best"], [0.6, 0.2])
    np.testing.assert_allclose(columns["s1_template_top3"], [0.35, 0.2])
    np.testing.assert_allclose(columns["s0_template_lead"], [0.3, -0.1], atol=1e-6)
    np.testing.assert_allclose(columns["s1_template_lead"], [-0.3, 0.1], atol=1e-6)
    np.testing.assert_allclose(columns["s2_template_lead"], [-0.9, -0.2], atol=1e-6)
    one = template_columns(found[:, :4], species[:4], np.ones(4, bool), np.array([4]))
    np.testing.assert_allclose(one[:, 2], one[:, 0])  # without another species the lead is all


def test_what_is_not_usable_has_no_say(templates: Templates) -> None:
    two = Templates(
        *(
            np.concatenate([getattr(templates, name)] * 2)
            for name in ("patches", "band", "n_steps", "species")
        ),
        recording=np.array(["a", "b"]),
    )
    frames = noise(200, 5)
    found = window_correlations(frames, np.array([0, 50]), 50, two)
    alone = template_columns(found[:, :1], two.species[:1], np.ones(1, bool), np.array([1, 0]))
    masked = template_columns(found, two.species, np.array([True, False]), np.array([1, 0]))
    np.testing.assert_array_equal(alone[:, [0, 4]], masked[:, [0, 4]])


def test_the_best_of_a_few_is_the_mean_over_their_draws() -> None:
    rng = np.random.default_rng(0)
    found = rng.random((4, 7))
    for n in (1, 2, 4, 7):
        draws = [found[:, list(draw)] for draw in combinations(range(7), n)]
        expected = np.mean([np.sort(draw, axis=1)[:, -1] for draw in draws], axis=0)
        top3 = np.mean([np.sort(draw, axis=1)[:, -3:].mean(axis=1) for draw in draws], axis=0)
        X = template_columns(found, np.zeros(7, int), np.ones(7, bool), np.array([n]))
        np.testing.assert_allclose(X[:, 0], expected, rtol=1e-5)
        np.testing.assert_allclose(X[:, 1], top3, rtol=1e-5)


def test_windows_that_may_use_fewer_are_not_told_by_it() -> None:
    """Chance correlations: the best of 30 is higher than that of 10, the best of 10 of 30 is not."""
    rng = np.random.default_rng(0)
    found = rng.random((4000, 30))
    usable = np.ones((4000, 30), bool)
    usable[:2000, 10:] = False
    X = template_columns(found, np.zeros(30, int), usable, np.array([10]))
    few, many = X[:2000, 0], X[2000:, 0]
    assert few.mean() == pytest.approx(many.mean(), abs=0.005)
    assert found[:2000, :10].max(axis=1).mean() < found[2000:].max(axis=1).mean() - 0.05
