from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.columns.block import TrainingBoxes
from features.columns.patches import (
    CUTS,
    N_BANDS,
    N_STEPS,
    PATCHES_PER_CENTRE,
    Patches,
    activations,
    spherical_kmeans,
)
from features.columns.sequences import steps
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

SETTINGS = SpectralSettings()
STARTS, LENGTH = np.array([0, 25, 101]), 50
N_FOLDS, PER_FOLD = 3, 6  # recordings


def noise(seed: int) -> Frames:
    levels = np.abs(np.random.default_rng(seed).normal(0, 2, (200, 64))).astype(np.float32)
    return Frames(levels - 60, levels, np.zeros((200, 7), np.float32))


def add_sweep(frames: Frames, first: int, level: float = 15) -> None:
    """Add a call of 0.3 s that rises from mel band 20 to 32."""
    for k in range(15):
        frames.levels[first + k, 20 + k * 12 // 15 : 22 + k * 12 // 15] += level


def with_sweep(seed: int) -> Frames:
    """Noise with a sweep at 2 s."""
    frames = noise(seed)
    add_sweep(frames, 100)
    return frames


def training(changed_fold: int | None = None, per_fold: int = PER_FOLD) -> TrainingBoxes:
    """A box around the sweep of each recording; recordings and boxes of `changed_fold` are different."""
    fold = np.repeat(np.arange(N_FOLDS), per_fold)
    recordings = [str(k + 1000 * (f == changed_fold)) for k, f in enumerate(fold)]
    columns = ["recording_id", "species_id", "t_min", "t_max", "f_min", "f_max"]
    boxes = pd.DataFrame([(r, 0, 2.0, 2.3, 1000, 3000) for r in recordings], columns=columns)
    return TrainingBoxes(
        boxes=boxes,
        fold=fold,
        group=np.arange(len(fold)),
        n_species=1,
        n_folds=N_FOLDS,
        load=lambda recording_id: with_sweep(int(recording_id)),
        seed=0,
    )


@pytest.fixture(scope="module")
def block() -> Patches:
    return Patches.fit(SETTINGS, training())


def test_activation_is_the_product_of_weights_and_levels() -> None:
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(9, 64)).astype(np.float32)
    weights = rng.normal(size=(3, N_STEPS, N_BANDS)).astype(np.float32)
    offset, first_band = np.array([0.0, 1.0, -2.0], np.float32), np.array([8, 0, 8])
    found = activations(levels, weights, offset, first_band=first_band)
    assert found.shape == (9 - N_STEPS + 1, 3)
    for step in range(len(found)):
        for k, first in enumerate(first_band):
            patch = levels[step : step + N_STEPS, first : first + N_BANDS]
            assert found[step, k] == pytest.approx((patch * weights[k]).sum() + offset[k], abs=1e-4)


def test_centres_of_separate_directions_are_these_directions() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0][:3]
    X = np.repeat(directions, 50, axis=0) * rng.uniform(0.5, 9, (150, 1)) + rng.normal(0, 0.02, (150, 6))
    centres = spherical_kmeans(X, 3, np.random.default_rng(2))
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1)
    assert (centres @ directions.T).max(axis=0) == pytest.approx(1, abs=0.01)


def test_measures_are_the_maximum_and_the_positive_mean_over_the_window(block: Patches) -> None:
    frames = noise(7)
    measured = block.measure(frames, STARTS, LENGTH)
    levels = steps(frames.levels)
    for row, start in zip(measured, STARTS // 2, strict=True):
        inside = activations(
            levels[start : start + LENGTH // 2], block.weights, block.offset, first_band=block.first_band
        )
        highest, mean = np.split(row, 2)
        np.testing.assert_allclose(highest, inside.max(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(mean, np.maximum(inside, 0).mean(axis=0), rtol=1e-4, atol=1e-4)


def test_a_call_of_the_learned_kind_has_a_high_activation(block: Patches) -> None:
    """The sweep of a new recording activates some centre more than any noise does."""
    outside = block.outside(0)
    with_call, without = (
        np.array(
            [outside.columns(block.measure(make(seed), np.array([90]), LENGTH))[0] for seed in range(20)]
        )
        for make in (lambda seed: with_sweep(500 + seed), lambda seed: noise(700 + seed))
    )
    assert (with_call.min(axis=0) > without.max(axis=0)).any()


def test_centres_of_a_fold_only_depend_on_its_own_boxes(block: Patches) -> None:
    other = Patches.fit(SETTINGS, training(changed_fold=1))
    same = block.fold != 1
    assert 0 < same.sum() < len(same)
    np.testing.assert_array_equal(other.fold, block.fold)
    for name in ("weights", "offset", "first_band"):
        np.testing.assert_array_equal(getattr(other, name)[same], getattr(block, name)[same])
    assert not np.isclose(other.weights[~same], block.weights[~same]).all(axis=(1, 2)).any()
    measured, measured_other = (b.measure(noise(1), STARTS, LENGTH) for b in (block, other))
    np.testing.assert_array_equal(
        block.outside(1).columns(measured), other.outside(1).columns(measured_other)
    )


def test_columns_of_the_left_out_fold_are_0(block: Patches) -> None:
    measured = block.measure(with_sweep(1), np.array([90]), LENGTH)
    columns = block.outside(2).columns(measured)
    of_fold = np.tile(block.fold == 2, 2)
    assert (columns[:, of_fold] == 0).all()
    np.testing.assert_array_equal(columns[:, ~of_fold], measured[:, ~of_fold])
    np.testing.assert_array_equal(block.columns(measured), measured)


def test_too_few_patches_give_no_centres() -> None:
    assert CUTS < PATCHES_PER_CENTRE
    none = Patches.fit(SETTINGS, training(per_fold=1))
    assert none.n_measures == 0
    assert none.names() == []
    assert none.measure(noise(0), STARTS, LENGTH).shape == (3, 0)
    assert none.columns(np.zeros((3, 0), np.float16)).shape == (3, 0)
    assert len(Patches.fit(SETTINGS, training(per_fold=2)).weights) > 0


@pytest.mark.parametrize("level", [0.0, 60.0])
def test_sound_of_constant_level_gives_a_block_that_can_be_stored(tmp_path: Path, level: float) -> None:
    levels = np.full((200, 64), level, np.float32)
    levels += 1e-3 * np.random.default_rng(0).random(levels.shape, np.float32)
    frames = Frames(levels - 60, levels, np.zeros((200, 7), np.float32))
    block = Patches.fit(SETTINGS, replace(training(), load=lambda recording_id: frames))
    block.save(tmp_path)
    loaded = Patches.load(tmp_path, SETTINGS, 1)
    assert np.isfinite(loaded.measure(with_sweep(0), STARTS, LENGTH).astype(np.float16)).all()


@pytest.mark.parametrize("n_frames", [1, 7, 8, 30, 50])
def test_recordings_shorter_than_a_window_are_padded_with_background(block: Patches, n_frames: int) -> None:
    frames = noise(0).excerpt(0, n_frames)
    padded = noise(0).excerpt(0, n_frames)
    padded = padded.excerpt(0, LENGTH)
    np.testing.assert_allclose(
        block.measure(frames, np.array([0]), LENGTH), block.measure(padded, np.array([0]), LENGTH), rtol=1e-6
    )


def test_stored_block_must_be_valid(block: Patches, tmp_path: Path) -> None:
    for name, value in {
        "first_band": np.full(len(block.fold), SETTINGS.n_mels - N_BANDS + 1),
        "weights": np.full_like(block.weights, np.nan),
        "offset": block.offset[1:],
    }.items():
        replace(block, **{name: value}).save(tmp_path)
        with pytest.raises(ValueError, match=name):
            Patches.load(tmp_path, SETTINGS, 1)
