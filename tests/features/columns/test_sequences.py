import numpy as np

from features.columns.sequences import steps, window_sequences
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

SETTINGS = SpectralSettings()


def random_frames(n_frames: int) -> Frames:
    rng = np.random.default_rng(0)
    return Frames.of(
        rng.normal(-40, 10, (n_frames, SETTINGS.n_mels)).astype(np.float32),
        rng.normal(15, 3, (n_frames, SETTINGS.n_bands + 1)).astype(np.float32),
    )


def test_steps_are_means_of_frame_pairs_and_omit_an_odd_last_frame() -> None:
    levels = np.array([[0, 1], [2, 3], [10, 20], [30, 40], [7, 7]], np.float32)
    np.testing.assert_array_equal(steps(levels), [[1, 2], [20, 30]])


def test_window_sequences_are_means_of_frame_pairs() -> None:
    frames, starts = random_frames(250), np.array([0, 40, 150])
    X = window_sequences(frames, starts, 100)
    assert X.shape == (3, 50, SETTINGS.n_mels)
    assert X.dtype == np.float16
    levels = frames.levels
    for row, start in enumerate(starts):
        for step in (0, 17, 49):
            pair = levels[start + 2 * step : start + 2 * step + 2]
            np.testing.assert_allclose(X[row, step], pair.mean(axis=0), rtol=2e-3, atol=2e-3)


def test_short_recording_is_padded_with_background() -> None:
    X = window_sequences(random_frames(31), np.array([0]), 100)
    assert X.shape == (1, 50, SETTINGS.n_mels)
    assert (X[0, 16:] == 0).all()
    assert (X[0, :15] != 0).any()
