import numpy as np

from features.columns.sequences import window_sequences
from features.columns.statistics import feature_names, window_statistics
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mfcc

SETTINGS = SpectralSettings()


def random_frames(n_frames: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames.of(
        rng.normal(-40, 10, (n_frames, SETTINGS.n_mels)).astype(np.float32),
        rng.normal(15, 3, (n_frames, SETTINGS.n_bands + 1)).astype(np.float32),
    )


def column(X: np.ndarray, name: str) -> np.ndarray:
    return X[:, feature_names(SETTINGS).index(name)]


def test_names_are_readable_unique_and_one_a_column() -> None:
    names = feature_names(SETTINGS)
    X = window_statistics(random_frames(300), np.array([0, 100]), 100, SETTINGS)
    assert X.shape == (2, len(names))
    assert len(set(names)) == len(names)
    assert {"contrast3_p90", "band_3.00kHz_mean", "mfcc0_sd"} <= set(names)


def test_statistics_equal_their_slow_twin() -> None:
    frames, starts, length = random_frames(250), np.array([0, 50, 149]), 100
    X = window_statistics(frames, starts, length, SETTINGS)
    bands = frames.log_mel - np.percentile(frames.log_mel, 20, axis=0, method="higher")
    cepstrum = mfcc(frames.log_mel, SETTINGS.n_mfcc)
    for row, start in enumerate(starts):
        band = bands[start : start + length]
        assert np.isclose(X[row, 5], band[:, 5].mean(), rtol=1e-4)
        by_name = dict(zip(feature_names(SETTINGS), X[row], strict=True))
        k = 7
        name = feature_names(SETTINGS)[k].removesuffix("_mean")
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


def test_gain_moves_no_band_statistic() -> None:
    frames = random_frames(300)
    louder = Frames.of(frames.log_mel + 12, frames.contrast)
    starts = np.array([0, 100, 200])
    bands = [k for k, name in enumerate(feature_names(SETTINGS)) if name.startswith("band_")]
    before, after = (window_statistics(f, starts, 100, SETTINGS)[:, bands] for f in (frames, louder))
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_a_call_in_one_window_shows_in_that_window() -> None:
    log_mel = np.full((300, SETTINGS.n_mels), -50, np.float32)
    log_mel[120:160, 30] += 20
    frames = Frames.of(log_mel, np.zeros((300, 7), np.float32))
    X = window_statistics(frames, np.array([0, 100, 200]), 100, SETTINGS)
    name = feature_names(SETTINGS)[30].removesuffix("_mean")
    assert column(X, f"{name}_mean").tolist() == [0, 8, 0]
    assert column(X, f"{name}_p90").tolist() == [0, 20, 0]


def test_a_recording_shorter_than_a_window_is_described_by_what_it_has() -> None:
    for n_frames in (1, 2, 30):
        X = window_statistics(random_frames(n_frames), np.array([0]), 100, SETTINGS)
        assert X.shape == (1, len(feature_names(SETTINGS)))
        assert np.isfinite(X).all()


def test_sequences_are_means_of_frame_pairs() -> None:
    frames, starts = random_frames(250), np.array([0, 40, 150])
    X = window_sequences(frames, starts, 100)
    assert X.shape == (3, 50, SETTINGS.n_mels)
    assert X.dtype == np.float16
    levels = frames.levels
    for row, start in enumerate(starts):
        for step in (0, 17, 49):
            pair = levels[start + 2 * step : start + 2 * step + 2]
            np.testing.assert_allclose(X[row, step], pair.mean(axis=0), rtol=2e-3, atol=2e-3)


def test_a_short_recordings_sequence_ends_in_background() -> None:
    X = window_sequences(random_frames(31), np.array([0]), 100)
    assert X.shape == (1, 50, SETTINGS.n_mels)
    assert (X[0, 16:] == 0).all()
    assert (X[0, :15] != 0).any()
