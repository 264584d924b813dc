import numpy as np

from features.columns.statistics import Statistics
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mfcc

SETTINGS = SpectralSettings()
STATISTICS = Statistics(SETTINGS)
NAMES = STATISTICS.names()


def random_frames(n_frames: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames.of(
        rng.normal(-40, 10, (n_frames, SETTINGS.n_mels)).astype(np.float32),
        rng.normal(15, 3, (n_frames, SETTINGS.n_bands + 1)).astype(np.float32),
    )


def column(X: np.ndarray, name: str) -> np.ndarray:
    return X[:, NAMES.index(name)]


def test_names_are_unique_and_one_per_column() -> None:
    X = STATISTICS.measure(random_frames(300), np.array([0, 100]), 100)
    assert X.shape == (2, len(NAMES))
    assert X.dtype == np.float32
    assert len(set(NAMES)) == len(NAMES)
    assert {"contrast3_p90", "band_3.00kHz_mean", "mfcc0_sd"} <= set(NAMES)


def test_extents_contain_the_frequency_in_the_name_and_are_nan_for_mfcc() -> None:
    for name, (low, high) in zip(NAMES, STATISTICS.extents(), strict=True):
        if name.startswith("band"):
            centre = 1000 * float(name.removeprefix("band_").partition("kHz")[0])
            assert low - 5 <= centre <= high + 5
        elif name.startswith("contrast"):
            assert low < high
        else:
            assert np.isnan([low, high]).all()
    np.testing.assert_array_equal(STATISTICS.extents()[NAMES.index("contrast2_mean")], [400, 800])


def test_values_equal_slow_reference_implementation() -> None:
    frames, starts, length = random_frames(250), np.array([0, 50, 149]), 100
    X = STATISTICS.measure(frames, starts, length)
    bands = frames.log_mel - np.percentile(frames.log_mel, 20, axis=0, method="higher")
    cepstrum = mfcc(frames.log_mel, SETTINGS.n_mfcc)
    for row, start in enumerate(starts):
        band = bands[start : start + length]
        assert np.isclose(X[row, 5], band[:, 5].mean(), rtol=1e-4)
        by_name = dict(zip(NAMES, X[row], strict=True))
        k = 7
        name = NAMES[k].removesuffix("_mean")
        expected = {
            f"{name}_mean": band[:, k].mean(),
            f"{name}_sd": band[:, k].std(),
            f"{name}_p50": np.percentile(band[:, k], 50, method="higher"),
            f"{name}_p90": np.percentile(band[:, k], 90, method="higher"),
            f"{name}_p99": np.percentile(band[:, k], 99, method="higher"),
            f"{name}_delta": np.abs(np.diff(band[:, k])).mean(),
            "mfcc3_mean": cepstrum[start : start + length, 3].mean(),
            "mfcc3_sd": cepstrum[start : start + length, 3].std(),
            "contrast2_p90": np.percentile(frames.contrast[start : start + length, 2], 90, method="higher"),
        }
        for key, value in expected.items():
            assert np.isclose(by_name[key], value, rtol=1e-4), key


def test_gain_does_not_change_band_statistics() -> None:
    frames = random_frames(300)
    louder = Frames.of(frames.log_mel + 12, frames.contrast)
    starts = np.array([0, 100, 200])
    bands = [k for k, name in enumerate(NAMES) if name.startswith("band_")]
    before, after = (STATISTICS.measure(f, starts, 100)[:, bands] for f in (frames, louder))
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_call_changes_only_its_window() -> None:
    log_mel = np.full((300, SETTINGS.n_mels), -50, np.float32)
    log_mel[120:160, 30] += 20
    frames = Frames.of(log_mel, np.zeros((300, 7), np.float32))
    X = STATISTICS.measure(frames, np.array([0, 100, 200]), 100)
    name = NAMES[30].removesuffix("_mean")
    assert column(X, f"{name}_mean").tolist() == [0, 8, 0]
    assert column(X, f"{name}_p90").tolist() == [0, 20, 0]


def test_recording_shorter_than_a_window_has_finite_values() -> None:
    for n_frames in (1, 2, 30):
        X = STATISTICS.measure(random_frames(n_frames), np.array([0]), 100)
        assert X.shape == (1, len(NAMES))
        assert np.isfinite(X).all()
