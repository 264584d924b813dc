from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.columns.species_bands import BAND_MEASURES
from features.columns.statistics import feature_names, window_statistics
from features.columns.templates import Templates, template_columns, window_correlations
from features.columns.window_features import Descriptor
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

SETTINGS = SpectralSettings()
STARTS = np.array([0, 50, 100])
LENGTH = 50
N_DRAWN = np.array([2, 3])


def frames(seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames.of(
        rng.normal(-50, 8, (200, SETTINGS.n_mels)).astype(np.float32),
        rng.normal(15, 3, (200, SETTINGS.n_bands + 1)).astype(np.float32),
    )


@pytest.fixture
def descriptor() -> Descriptor:
    rng = np.random.default_rng(1)
    templates = Templates(
        patches=rng.normal(0, 0.03, (5, 16, SETTINGS.n_mels)).astype(np.float32),
        band=np.tile([0, SETTINGS.n_mels], (5, 1)),
        n_steps=np.array([4, 8, 16, 16, 4]),
        species=np.array([0, 0, 1, 1, 1]),
        recording=np.array(list("aabbc")),
    )
    return Descriptor(
        SETTINGS, np.array([[5, 12], [20, 40], [30, 33]]), np.array([2, 0]), np.array([2, 3]), templates
    )


def test_columns_are_statistics_own_bands_and_resemblance(descriptor: Descriptor) -> None:
    X = descriptor.describe(frames(), STARTS, LENGTH)
    names = descriptor.names()
    assert X.shape == (3, len(names))
    assert X.dtype == np.float16
    n = len(feature_names(SETTINGS))
    np.testing.assert_array_equal(
        X[:, :n], window_statistics(frames(), STARTS, LENGTH, SETTINGS).astype(np.float16)
    )
    correlations = window_correlations(frames(), STARTS, LENGTH, descriptor.templates).astype(np.float16)
    expected = template_columns(
        correlations, descriptor.templates.species, np.ones(5, bool), np.array([2, 3])
    )
    np.testing.assert_array_equal(X[:, -6:], expected.astype(np.float16))
    assert len(set(names)) == len(names) == n + 2 * len(BAND_MEASURES) + 6


def test_each_species_has_the_measures_of_its_own_band(descriptor: Descriptor) -> None:
    X = descriptor.describe(frames(), STARTS, LENGTH)
    swapped = replace(descriptor, band_of=np.array([0, 2])).describe(frames(), STARTS, LENGTH)
    n, m = len(feature_names(SETTINGS)), len(BAND_MEASURES)
    np.testing.assert_array_equal(X[:, n : n + m], swapped[:, n + m : n + 2 * m])
    np.testing.assert_array_equal(X[:, n + m : n + 2 * m], swapped[:, n : n + m])


def test_a_saved_descriptor_describes_the_same(descriptor: Descriptor, tmp_path: Path) -> None:
    before = descriptor.describe(frames(), STARTS, LENGTH)  # fills what is computed once
    descriptor.save(tmp_path)
    loaded = Descriptor.load(tmp_path, SETTINGS)
    np.testing.assert_array_equal(loaded.describe(frames(), STARTS, LENGTH), before)
    assert loaded.names() == descriptor.names()
    assert [file.name for file in tmp_path.iterdir()] == ["descriptor.npz"]


def test_nothing_beyond_its_reach_moves_a_window(descriptor: Descriptor) -> None:
    one = frames()
    moved = Frames(one.log_mel.copy(), one.levels.copy(), one.contrast.copy())
    for values in (moved.log_mel, moved.levels):
        values[: 100 - descriptor.reach - 2] += 30  # a step more: the two frames of a step are one
    before, after = (descriptor.measure(f, np.array([100]), LENGTH) for f in (one, moved))
    np.testing.assert_array_equal(before, after)
    values = moved.levels
    values[100 - descriptor.reach + 1] += 30
    assert not np.array_equal(descriptor.measure(moved, np.array([100]), LENGTH), before)
