import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.columns.block import TrainingBoxes
from features.columns.window_features import BLOCKS, WindowFeatures
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

SETTINGS = SpectralSettings()
STARTS = np.array([0, 50, 100])
LENGTH = 50


def random_frames(seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames.of(
        rng.normal(-50, 8, (200, SETTINGS.n_mels)).astype(np.float32),
        rng.normal(15, 3, (200, SETTINGS.n_bands + 1)).astype(np.float32),
    )


@pytest.fixture
def features() -> WindowFeatures:
    """Two species with ten boxes each, in ten groups and five folds."""
    recording, species = np.arange(20) % 10, np.arange(20) // 10
    rng = np.random.default_rng(1)
    t_min, f_min = rng.uniform(0, 2.5, 20), rng.uniform(500, 5000, 20)
    training = TrainingBoxes(
        boxes=pd.DataFrame(
            {
                "recording_id": recording.astype(str),
                "species_id": species,
                "t_min": t_min,
                "t_max": t_min + rng.uniform(0.2, 1.2, 20),
                "f_min": f_min,
                "f_max": f_min + rng.uniform(500, 5000, 20),
            }
        ),
        fold=recording % 5,
        group=recording,
        n_species=2,
        n_folds=5,
        load=lambda recording_id: random_frames(int(recording_id)),
        seed=0,
    )
    return WindowFeatures.fit(SETTINGS, training)


def test_columns_equal_the_columns_of_the_blocks_in_float16(features: WindowFeatures) -> None:
    X = features.transform(random_frames(), STARTS, LENGTH)
    assert X.shape == (3, len(features.names()))
    assert X.dtype == np.float16
    assert len(set(features.names())) == len(features.names())
    slices = features.slices()
    assert list(slices) == list(BLOCKS)
    for name, block in features.blocks.items():
        measured = block.measure(random_frames(), STARTS, LENGTH).astype(np.float16)
        np.testing.assert_array_equal(X[:, slices[name]], block.columns(measured).astype(np.float16))


def test_names_extents_species_and_columns_of_every_block_have_the_same_length(
    features: WindowFeatures, tmp_path: Path
) -> None:
    features.save(tmp_path)
    loaded = WindowFeatures.load(tmp_path, SETTINGS, 2)
    groups = np.array([[0, 1], [2, 2], [3, 8]])
    for version in (features, features.outside(1), loaded, loaded.outside(1)):
        assert list(version.blocks) == list(BLOCKS)
        for name, block in version.blocks.items():
            assert isinstance(block, BLOCKS[name])
            measured = block.measure(random_frames(), STARTS, LENGTH)
            assert measured.shape == (3, block.n_measures)
            n_columns = len(block.names())
            assert block.extents().shape == (n_columns, 2)
            assert block.species().shape == (n_columns,)
            assert set(block.species()) <= {-1, 0, 1}
            for of_windows in (None, groups):
                assert block.columns(measured.astype(np.float16), of_windows).shape == (3, n_columns)


def test_names_of_columns_start_with_their_species(features: WindowFeatures) -> None:
    for name, species in zip(features.names(), features.species(), strict=True):
        if species < 0:
            assert not re.match(r"s\d", name)
        else:
            assert name.startswith(f"s{species}_")


def test_features_outside_a_fold_differ_but_have_the_same_measures(features: WindowFeatures) -> None:
    outside = features.outside(2)
    measured = features.measure(random_frames(), STARTS, LENGTH)
    np.testing.assert_array_equal(outside.measure(random_frames(), STARTS, LENGTH), measured)
    assert not np.array_equal(outside.columns(measured), features.columns(measured))


def test_loaded_features_give_the_same_columns(features: WindowFeatures, tmp_path: Path) -> None:
    before = features.transform(random_frames(), STARTS, LENGTH)
    features.save(tmp_path)
    loaded = WindowFeatures.load(tmp_path, SETTINGS, 2)
    np.testing.assert_array_equal(loaded.transform(random_frames(), STARTS, LENGTH), before)
    assert loaded.names() == features.names()
    np.testing.assert_array_equal(loaded.extents(), features.extents())
    measured, groups = features.measure(random_frames(), STARTS, LENGTH), np.array([[0], [1], [2]])
    np.testing.assert_array_equal(
        loaded.outside(3).columns(measured, groups), features.outside(3).columns(measured, groups)
    )
    assert {file.name for file in tmp_path.iterdir()} == {"species_bands.npz", "templates.npz", "patches.npz"}


def test_wrong_number_of_species_is_rejected(features: WindowFeatures, tmp_path: Path) -> None:
    features.save(tmp_path)
    with pytest.raises(ValueError, match="has shape"):
        WindowFeatures.load(tmp_path, SETTINGS, 3)


def test_frames_beyond_the_reach_do_not_change_a_window(features: WindowFeatures) -> None:
    before = random_frames()
    after = Frames(before.log_mel.copy(), before.levels.copy(), before.contrast.copy())
    for values in (after.log_mel, after.levels):
        # The change ends one step (two frames) before the reach, because both frames of a step are averaged.
        values[: 100 - features.reach - 2] += 30
    start = np.array([100])
    expected = features.measure(before, start, LENGTH)
    np.testing.assert_array_equal(features.measure(after, start, LENGTH), expected)
    after.levels[100 - features.reach + 1] += 30
    assert not np.array_equal(features.measure(after, start, LENGTH), expected)
