from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.columns.block import TrainingBoxes
from features.columns.species_bands import (
    BAND_MEASURES,
    FILE,
    SpeciesBands,
    band_measures,
    median_bands,
    pulse_shares,
)
from features.frames.frames import Frames
from features.frames.spectral import MIN_RANGE, SpectralSettings, mel_centres, mel_edges

SETTINGS = SpectralSettings()
CENTRES = mel_centres(SETTINGS)


def boxes(*rows: tuple[int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["species_id", "f_min", "f_max"])


@pytest.fixture
def block() -> SpeciesBands:
    """Two species with boxes in folds 0 and 1, and a species without a box."""
    training = TrainingBoxes(
        boxes=boxes((0, 2000, 4000), (0, 6000, 8000), (1, 500, 900), (1, 500, 900)),
        fold=np.array([0, 1, 0, 1]),
        group=np.arange(4),
        n_species=3,
        n_folds=2,
        load=lambda recording_id: pytest.fail("frames are not needed"),
        seed=0,
    )
    return SpeciesBands.fit(SETTINGS, training)


def measures(
    levels: np.ndarray, band: tuple[int, int], starts: tuple[int, ...] = (50,)
) -> dict[str, np.ndarray]:
    frames = Frames(levels, levels, np.zeros((len(levels), 7), np.float32))
    rows = band_measures(frames, np.array(starts), 50, bands=np.array([band]), frame_rate=SETTINGS.frame_rate)
    assert rows.shape == (len(starts), len(BAND_MEASURES))
    return dict(zip(BAND_MEASURES, rows.T, strict=True))


def test_band_is_the_median_of_the_boxes() -> None:
    table = boxes((0, 2000, 4000), (0, 2100, 4100), (0, 2050, 9000), (2, 500, 700))
    bands = median_bands(table, 3, SETTINGS)
    inside = (CENTRES >= 2050) & (CENTRES <= 4100)
    assert bands[0].tolist() == [np.flatnonzero(inside)[0], np.flatnonzero(inside)[-1] + 1]
    assert bands[1].tolist() == [0, 0]
    assert bands[2, 1] - bands[2, 0] >= MIN_RANGE


def test_bands_are_fitted_on_all_boxes_or_on_the_boxes_outside_a_fold(block: SpeciesBands) -> None:
    table = boxes((0, 2000, 4000), (0, 6000, 8000), (1, 500, 900))
    for of_block, rows in ((block, [0, 1, 2]), (block.outside(0), [1, 2]), (block.outside(1), [0, 2])):
        expected = median_bands(table.iloc[rows], 3, SETTINGS)
        np.testing.assert_array_equal(of_block.bands[of_block.band_of], expected)


def test_names_contain_species_band_and_measure(block: SpeciesBands) -> None:
    names = block.outside(1).names()
    assert len(set(names)) == len(names) == 3 * len(BAND_MEASURES)
    assert names[0].startswith("s0_2.")
    assert names[0].endswith("kHz_level_p90")
    assert names[-1].startswith("s2_")
    assert names[-1].endswith("pulse_10-25Hz")


def test_extents_are_the_edges_of_the_band_or_nan_without_boxes(block: SpeciesBands) -> None:
    extents, (first, stop) = block.extents(), block.bands[block.band_of[1]]
    expected = mel_edges(SETTINGS)[[first, stop + 1]]
    np.testing.assert_array_equal(extents[block.species() == 1], np.tile(expected, (len(BAND_MEASURES), 1)))
    assert np.isnan(extents[block.species() == 2]).all()


def test_level_excess_over_flanks_and_peak_have_known_values() -> None:
    levels = np.zeros((150, 64), np.float32)
    levels[:, 20:30] = 6
    levels[:, 24] = 16
    levels[:, 15:20] = 2  # the lower flank
    found = measures(levels, (20, 30))
    assert found["level_p90"] == pytest.approx(7)
    assert found["above_flanks_p90"] == pytest.approx(6)
    assert found["peak_p90"] == pytest.approx(9)


def test_call_changes_only_the_level_of_its_window() -> None:
    levels = np.zeros((150, 64), np.float32)
    levels[100:120, 20:30] = 10
    found = measures(levels, (20, 30), starts=(0, 50, 100))
    assert found["level_p90"].tolist() == [0, 0, 10]


@pytest.mark.parametrize(("rate", "name"), [(2, "1-2.5Hz"), (4, "2.5-5Hz"), (8, "5-10Hz"), (20, "10-25Hz")])
def test_pulse_share_is_highest_at_the_pulse_rate(rate: float, name: str) -> None:
    t = np.arange(150) / SETTINGS.frame_rate
    levels = np.zeros((150, 64), np.float32)
    levels[:, 20:30] = (10 + 5 * np.sin(2 * np.pi * rate * t))[:, None]
    found = measures(levels, (20, 30))
    shares = {key: value.item() for key, value in found.items() if key.startswith("pulse")}
    assert max(shares, key=lambda key: shares[key]) == f"pulse_{name}"
    assert shares[f"pulse_{name}"] > 0.9


def test_constant_level_has_pulse_shares_of_zero() -> None:
    for shares in pulse_shares(np.full((2, 50), 7.0, np.float32), SETTINGS.frame_rate):
        assert (shares == 0).all()


def test_columns_of_a_species_are_the_measures_of_its_band(block: SpeciesBands) -> None:
    levels = np.random.default_rng(0).normal(0, 5, (150, 64)).astype(np.float32)
    frames = Frames(levels, levels, np.zeros((150, 7), np.float32))
    measured = block.measure(frames, np.array([0, 50]), 50)
    assert measured.shape == (2, block.n_measures)
    X = block.columns(measured)
    for species in range(3):
        band = block.bands[[block.band_of[species]]]
        expected = band_measures(frames, np.array([0, 50]), 50, bands=band, frame_rate=SETTINGS.frame_rate)
        np.testing.assert_array_equal(X[:, block.species() == species], expected)
    swapped = replace(block, band_of=block.band_of[[1, 0, 2]]).columns(measured)
    np.testing.assert_array_equal(swapped[:, block.species() == 0], X[:, block.species() == 1])
    np.testing.assert_array_equal(swapped[:, block.species() == 1], X[:, block.species() == 0])


def test_empty_band_has_zeros_and_short_recording_is_finite() -> None:
    levels = np.ones((1, 64), np.float32)
    frames = Frames(levels, levels, np.zeros((1, 7), np.float32))
    bands = np.array([[0, 0], [0, 64]])
    rows = band_measures(frames, np.array([0]), 50, bands=bands, frame_rate=SETTINGS.frame_rate)
    assert np.isfinite(rows).all()
    assert (rows[0, : len(BAND_MEASURES)] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": np.array([[0, 65]] * 4)}, "'bands' has values outside 0 to 64"),
        ({"bands": np.array([[5, 4]] * 9)}, "a band ends before it begins"),
        ({"bands": np.array([[0, 4]])}, "is not among the 1 bands"),
        ({"band_of": np.zeros(2, int)}, r"'band_of' has shape \(2,\), not \(3,\)"),
        ({"band_of": np.zeros(3)}, "'band_of' has type float64, not int"),
        ({"band_of": np.array([0, 0, -1])}, "'band_of' has values outside"),
        ({"band_of_outside": np.full((2, 3), 99)}, "is not among"),
    ],
)
def test_invalid_file_is_rejected(
    block: SpeciesBands, tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    replace(block, **change).save(tmp_path)
    with pytest.raises(ValueError, match=f"{FILE}.*{message}"):
        SpeciesBands.load(tmp_path, SETTINGS, 3)
