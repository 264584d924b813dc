from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.columns.block import TrainingBoxes
from features.columns.sequences import steps
from features.columns.templates import (
    FILE,
    MAX_TEMPLATES,
    MIN_DRAWN,
    QUIET,
    CutCalls,
    Templates,
    correlations,
    cut_calls,
    template_columns,
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


def add_sweep(frames: Frames, first: int, level: float = 20) -> None:
    """Add a call of 0.4 s that rises through the mel bands from `LOW` to `HIGH`."""
    for k in range(20):
        frames.levels[first + k, LOW + k * (HIGH - LOW) // 20] += level


def box(recording_id: str, first: int, species: int = 0) -> tuple:
    return (recording_id, species, first / 50, first / 50 + 0.4, CENTRES[LOW] - 1, CENTRES[HIGH - 1] + 1)


def boxes(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["recording_id", "species_id", "t_min", "t_max", "f_min", "f_max"])


def cut(table: pd.DataFrame, frames: Frames, n_species: int = 2) -> tuple[CutCalls, np.ndarray]:
    return cut_calls(table, lambda recording_id: frames, n_species, settings=SETTINGS, seed=0)


@pytest.fixture
def calls() -> CutCalls:
    """A call cut from a recording with a sweep at 2 s."""
    frames = noise(300)
    add_sweep(frames, 100)
    return cut(boxes(box("a", 100)), frames)[0]


@pytest.fixture
def block() -> Templates:
    """20 templates of species 0 in five groups and three folds, and one template of species 1."""
    group = np.array([0] * 8 + [1] * 5 + [2] * 4 + [3] * 2 + [4] * 1 + [0])
    training = TrainingBoxes(
        boxes=boxes(*(box(f"r{g}", 10 * k, species=k // 20) for k, g in enumerate(group))),
        fold=np.array([0, 1, 2, 2, 1])[group],
        group=group,
        n_species=3,
        n_folds=3,
        load=lambda recording_id: noise(300, seed=int(recording_id[1:])),
        seed=0,
    )
    return Templates.fit(SETTINGS, training)


def test_template_has_zero_mean_and_unit_norm(calls: CutCalls) -> None:
    assert len(calls) == 1
    assert calls.band.tolist() == [[LOW, HIGH]]
    patch = calls.patches[0, : calls.n_steps[0], LOW:HIGH]
    assert patch.sum() == pytest.approx(0, abs=1e-5)
    assert np.linalg.norm(calls.patches) == pytest.approx(1)
    assert np.linalg.norm(patch) == pytest.approx(1)


def test_call_is_found_independently_of_its_level(calls: CutCalls) -> None:
    frames = noise(600, seed=1)
    add_sweep(frames, 420, level=10)
    found = window_correlations(frames, np.arange(0, 551, 25), 50, calls=calls)[:, 0]
    assert found.argmax() in (16, 17)  # windows at frames 400 to 450 and 425 to 475
    assert found.max() > 0.5 > 2 * np.median(found)


def test_correlations_equal_slow_reference_implementation() -> None:
    rng = np.random.default_rng(0)
    many = CutCalls(
        patches=np.zeros((5, 16, 64), np.float32),
        band=np.array([[60, 64], [0, 64], [10, 14], [57, 61], [60, 64]]),
        n_steps=np.array([8, 16, 4, 8, 8]),
    )
    for patch, (low, high), n in zip(many.patches, many.band, many.n_steps, strict=True):
        values = rng.normal(size=(n, high - low))
        values -= values.mean()
        patch[:n, low:high] = values / np.linalg.norm(values)
    levels = np.maximum(steps(noise(80).levels), 0)
    found = correlations(levels, many)[:, many.position]
    for t in range(len(levels)):
        for k in range(len(many)):
            n, (low, high) = many.n_steps[k], many.band[k]
            around = np.zeros((n, high - low))
            for i in range(n):
                if 0 <= t - n // 2 + i < len(levels):
                    around[i] = levels[t - n // 2 + i, low:high]
            centred = around - around.mean()
            expected = (centred * many.patches[k, :n, low:high]).sum()
            expected /= np.linalg.norm(centred) + QUIET * np.sqrt(n * (high - low))
            assert found[t, k] == pytest.approx(expected, abs=1e-5)


def test_correlation_is_below_one_and_zero_in_silence(calls: CutCalls) -> None:
    assert np.abs(correlations(np.maximum(steps(noise(400, 3).levels), 0), calls)).max() < 1
    silence = np.zeros((30, 64), np.float32)
    assert (correlations(silence, calls) == 0).all()


def test_chunk_size_does_not_change_correlations(calls: CutCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, starts = noise(1000, 2), np.arange(0, 951, 25)
    whole = window_correlations(frames, starts, 50, calls=calls)
    monkeypatch.setattr("features.columns.templates.CHUNK", 7)
    np.testing.assert_allclose(window_correlations(frames, starts, 50, calls=calls), whole, rtol=1e-5)


def test_short_recording_or_no_templates_give_the_right_shape(calls: CutCalls) -> None:
    for n_frames in (1, 2, 7):
        found = window_correlations(noise(n_frames), np.array([0]), 50, calls=calls)
        assert found.shape == (1, 1)
        assert np.isfinite(found).all()
    empty, positions = cut(boxes(box("a", 0)), noise(1))
    assert len(empty) == len(positions) == 0
    assert window_correlations(noise(100), np.array([0, 25]), 50, calls=empty).shape == (2, 0)


def test_templates_per_species_are_limited_and_deterministic() -> None:
    table = boxes(*(box("a", 2 * k, species=k % 2) for k in range(140)))
    found, positions = cut(table, noise(400), MAX_TEMPLATES // 32)
    assert np.bincount(table["species_id"].to_numpy()[positions]).tolist() == [32, 32]
    again, same = cut(table, noise(400), MAX_TEMPLATES // 32)
    np.testing.assert_array_equal(found.patches, again.patches)
    np.testing.assert_array_equal(positions, same)


def test_position_of_each_call_is_that_of_its_box() -> None:
    rows = [box(f"r{k % 3}", 10 + 30 * k, species=k % 2) for k in range(12)]
    frames = {f"r{k}": noise(500, seed=k) for k in range(3)}
    table = boxes(*rows).set_axis(range(100, 112))  # positions must not be index labels
    found, positions = cut_calls(table, frames.__getitem__, 2, settings=SETTINGS, seed=3)
    assert sorted(positions) == list(range(12))
    for patch, position in zip(found.patches, positions, strict=True):
        alone, _ = cut(table.iloc[[position]], frames[rows[position][0]])
        np.testing.assert_array_equal(patch, alone.patches[0])


def test_columns_are_best_top3_and_lead_of_usable_templates(block: Templates) -> None:
    species = np.array([0, 0, 0, 0, 1, 1])
    found = np.array([[0.9, 0.5, 0.4, 0.3, 0.6, 0.1], [0.1, -0.2, 0.0, 0.0, 0.8, 0.2]])
    usable = np.array([[True] * 6, [True, True, True, True, False, True]])
    X = template_columns(found, species=species, usable=usable, n_drawn=np.array([4, 2, 0]))
    columns = dict(zip(block.names(), X.T, strict=True))
    np.testing.assert_allclose(columns["s0_template_best"], [0.9, 0.1])
    np.testing.assert_allclose(columns["s0_template_top3"], [0.6, 0.1 / 3], rtol=1e-6)
    np.testing.assert_allclose(columns["s1_template_best"], [0.6, 0.2])
    np.testing.assert_allclose(columns["s1_template_top3"], [0.35, 0.2])
    np.testing.assert_allclose(columns["s0_template_lead"], [0.3, -0.1], atol=1e-6)
    np.testing.assert_allclose(columns["s1_template_lead"], [-0.3, 0.1], atol=1e-6)
    np.testing.assert_allclose(columns["s2_template_lead"], [-0.9, -0.2], atol=1e-6)
    one = template_columns(found[:, :4], species=species[:4], usable=np.ones(4, bool), n_drawn=np.array([4]))
    np.testing.assert_allclose(one[:, 2], one[:, 0])  # lead equals best if there is only one species


def test_unusable_templates_have_no_effect() -> None:
    found = np.random.default_rng(5).random((4, 2))
    n_drawn = np.array([1, 0])
    species = np.zeros(2, int)
    alone = template_columns(found[:, :1], species=species[:1], usable=np.ones(1, bool), n_drawn=n_drawn)
    masked = template_columns(found, species=species, usable=np.array([True, False]), n_drawn=n_drawn)
    np.testing.assert_array_equal(alone, masked)


def test_best_and_top3_are_the_means_over_all_draws() -> None:
    rng = np.random.default_rng(0)
    found = rng.random((4, 7))
    for n in (1, 2, 4, 7):
        draws = [found[:, list(draw)] for draw in combinations(range(7), n)]
        expected = np.mean([np.sort(draw, axis=1)[:, -1] for draw in draws], axis=0)
        top3 = np.mean([np.sort(draw, axis=1)[:, -3:].mean(axis=1) for draw in draws], axis=0)
        X = template_columns(found, species=np.zeros(7, int), usable=np.ones(7, bool), n_drawn=np.array([n]))
        np.testing.assert_allclose(X[:, 0], expected, rtol=1e-5)
        np.testing.assert_allclose(X[:, 1], top3, rtol=1e-5)


def test_expected_best_does_not_depend_on_the_number_of_usable_templates() -> None:
    """The best of 30 random correlations is higher than the best of 10, but not if 10 of the 30 are drawn."""
    rng = np.random.default_rng(0)
    found = rng.random((4000, 30))
    usable = np.ones((4000, 30), bool)
    usable[:2000, 10:] = False
    X = template_columns(found, species=np.zeros(30, int), usable=usable, n_drawn=np.array([10]))
    few, many = X[:2000, 0], X[2000:, 0]
    assert few.mean() == pytest.approx(many.mean(), abs=0.005)
    assert found[:2000, :10].max(axis=1).mean() < found[2000:].max(axis=1).mean() - 0.05


def test_number_drawn_is_the_number_outside_the_two_largest_groups(block: Templates) -> None:
    assert MIN_DRAWN == 6
    assert block.n_drawn.tolist() == [20 - 8 - 5, 0, 0]
    assert block.outside(0).n_drawn.tolist() == [0, 0, 0]  # 12 - 5 - 4 = 3 is less than MIN_DRAWN
    assert block.outside(1).n_drawn.tolist() == [0, 0, 0]


def expected_columns(
    block: Templates, measured: np.ndarray, usable: np.ndarray, n_drawn: np.ndarray
) -> np.ndarray:
    return template_columns(measured, species=block.template_species, usable=usable, n_drawn=n_drawn)


def test_training_window_does_not_use_templates_of_its_groups(block: Templates) -> None:
    measured = np.random.default_rng(0).random((3, 21)).astype(np.float16)
    groups = np.array([[0, 0], [1, 2], [3, 9]])
    usable = np.array([~np.isin(block.group, row) for row in groups])
    expected = expected_columns(block, measured, usable, block.n_drawn)
    np.testing.assert_array_equal(block.columns(measured, groups), expected)
    everything = expected_columns(block, measured, np.ones(21, bool), block.n_drawn)
    np.testing.assert_array_equal(block.columns(measured), everything)
    assert not np.array_equal(expected, everything)


def test_columns_of_a_fold_use_only_templates_outside_it(
    block: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.columns.templates.MIN_DRAWN", 1)
    measured = np.random.default_rng(0).random((3, 21)).astype(np.float16)
    outside = block.outside(1)
    assert outside.n_drawn.tolist() == [15 - 1 - 8 - 4, 0, 0]
    expected = expected_columns(outside, measured, block.fold != 1, outside.n_drawn)
    np.testing.assert_array_equal(outside.columns(measured), expected)
    held_out = np.array([[1], [4], [1]])  # groups 1 and 4 are in fold 1 and have no template outside it
    np.testing.assert_array_equal(outside.columns(measured, held_out), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patches": np.zeros((21, 16, 63), np.float32)}, "'patches' has shape"),
        ({"patches": np.full((21, 16, 64), np.nan, np.float32)}, "'patches' has values outside"),
        ({"patches": np.zeros((20, 16, 64), np.float32)}, "'band' has shape"),
        ({"band": np.array([[4, 4]] * 21)}, "band is empty"),
        ({"n_steps": np.full(21, 5)}, "number of steps is not one of"),
        ({"template_species": np.full(21, 3)}, "'template_species' has values outside 0 to 2"),
        ({"group": np.full(21, "a")}, "'group' has type"),
        ({"fold": np.full(21, -1)}, "'fold' has values outside"),
        ({"usable": np.ones(21)}, "'usable' has type float64, not bool"),
        ({"species_band": np.zeros((2, 2), int)}, "'species_band' has shape"),
        ({"species_band_outside": np.full((3, 3, 2), 65)}, "'species_band_outside' has values outside"),
    ],
)
def test_invalid_file_is_rejected(
    block: Templates, tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    replace(block, **change).save(tmp_path)
    with pytest.raises(ValueError, match=f"{FILE}.*{message}"):
        Templates.load(tmp_path, SETTINGS, 3)
