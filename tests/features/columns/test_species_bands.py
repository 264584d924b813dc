import numpy as np
import pandas as pd
import pytest

from features.columns.species_bands import (
    BAND_MEASURES,
    LEAST_WIDTH,
    band_measures,
    band_names,
    mel_range,
    pulse_shares,
    species_bands,
)
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mel_centres

SETTINGS = SpectralSettings()
CENTRES = mel_centres(SETTINGS)


def boxes(*rows: tuple[int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["species_id", "f_min", "f_max"])


def measures(
    levels: np.ndarray, band: tuple[int, int], starts: tuple[int, ...] = (50,)
) -> dict[str, np.ndarray]:
    frames = Frames(levels, levels, np.zeros((len(levels), 7), np.float32))
    rows = band_measures(frames, np.array(starts), 50, np.array([band]), SETTINGS.frame_rate)
    assert rows.shape == (len(starts), len(BAND_MEASURES))
    return dict(zip(BAND_MEASURES, rows.T, strict=True))


def test_a_band_is_the_median_of_its_boxes() -> None:
    table = boxes((0, 2000, 4000), (0, 2100, 4100), (0, 2050, 9000), (2, 500, 700))
    bands = species_bands(table, 3, SETTINGS)
    inside = (CENTRES >= 2050) & (CENTRES <= 4100)
    assert bands[0].tolist() == [np.flatnonzero(inside)[0], np.flatnonzero(inside)[-1] + 1]
    assert bands[1].tolist() == [0, 0]
    assert bands[2, 1] - bands[2, 0] >= LEAST_WIDTH


@pytest.mark.parametrize("frequency", [0.0, 60.0, 3000.0, 15_900.0, 40_000.0])
def test_a_narrow_band_is_widened_within_the_bands_there_are(frequency: float) -> None:
    first, stop = mel_range(frequency, frequency + 1, SETTINGS)
    assert 0 <= first < stop <= len(CENTRES)
    assert stop - first == LEAST_WIDTH
    assert abs(CENTRES[first:stop] - frequency).min() == abs(CENTRES - frequency).min()


def test_names_say_species_band_and_measure() -> None:
    names = band_names(species_bands(boxes((0, 2000, 4000), (1, 500, 900)), 2, SETTINGS), SETTINGS)
    assert len(set(names)) == len(names) == 2 * len(BAND_MEASURES)
    assert names[0].startswith("s0_2.")
    assert names[0].endswith("kHz_level_p90")
    assert names[-1].startswith("s1_")
    assert names[-1].endswith("pulse_10-25Hz")


def test_level_flanks_and_peak_are_those_of_the_band() -> None:
    levels = np.zeros((150, 64), np.float32)
    levels[:, 20:30] = 6
    levels[:, 24] = 16
    levels[:, 15:20] = 2  # the lower flank
    found = measures(levels, (20, 30))
    assert found["level_p90"] == pytest.approx(7)
    assert found["above_flanks_p90"] == pytest.approx(6)
    assert found["peak_p90"] == pytest.approx(9)


def test_a_call_counts_in_its_window_only() -> None:
    levels = np.zeros((150, 64), np.float32)
    levels[100:120, 20:30] = 10
    found = measures(levels, (20, 30), starts=(0, 50, 100))
    assert found["level_p90"].tolist() == [0, 0, 10]


@pytest.mark.parametrize(("rate", "name"), [(2, "1-2.5Hz"), (4, "2.5-5Hz"), (8, "5-10Hz"), (20, "10-25Hz")])
def test_a_pulsed_call_is_told_by_its_rate(rate: float, name: str) -> None:
    t = np.arange(150) / SETTINGS.frame_rate
    levels = np.zeros((150, 64), np.float32)
    levels[:, 20:30] = (10 + 5 * np.sin(2 * np.pi * rate * t))[:, None]
    found = measures(levels, (20, 30))
    shares = {key: value.item() for key, value in found.items() if key.startswith("pulse")}
    assert max(shares, key=lambda key: shares[key]) == f"pulse_{name}"
    assert shares[f"pulse_{name}"] > 0.9


def test_what_never_moves_has_no_pulse() -> None:
    for shares in pulse_shares(np.full((2, 50), 7.0, np.float32), SETTINGS.frame_rate):
        assert (shares == 0).all()


def test_empty_bands_and_short_recordings_are_measured_as_nothing() -> None:
    levels = np.ones((1, 64), np.float32)
    frames = Frames(levels, levels, np.zeros((1, 7), np.float32))
    rows = band_measures(frames, np.array([0]), 50, np.array([[0, 0], [0, 64]]), SETTINGS.frame_rate)
    assert np.isfinite(rows).all()
    assert (rows[0, : len(BAND_MEASURES)] == 0).all()
