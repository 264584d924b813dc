"""Search by example: planted calls are found among other sounds of the same band."""

import numpy as np
import pytest

from features.columns.similarity import CallExample, Whitening
from features.columns.statistics import Statistics
from features.data.box import Box
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

SETTINGS = SpectralSettings()
LENGTH = 50
BAND = slice(20, 30)


def recording(seed: int, rising: tuple[int, ...] = (), level: tuple[int, ...] = ()) -> Frames:
    """Return noise with rising sweeps, and with as loud constant sounds in the same band, at these frames."""
    log_mel = np.random.default_rng(seed).normal(-60, 3, (1000, SETTINGS.n_mels)).astype(np.float32)
    for first in rising:
        for k in range(30):
            log_mel[first + k, BAND.start + k // 3] += 30
    for first in level:
        log_mel[first : first + 30, BAND] += 30
    return Frames.of(log_mel, contrast=np.zeros((1000, 7), np.float32))


@pytest.fixture(scope="module")
def example() -> CallExample:
    frames = recording(0, rising=(400,))
    centres = np.linspace(900, 3000, 2)
    return CallExample.of(frames, Box(8.0, 8.6, *centres), length=LENGTH, settings=SETTINGS)


def test_calls_are_ranked_above_as_loud_sounds(example: CallExample) -> None:
    frames = recording(1, rising=(110, 310, 710), level=(210, 510, 810))
    starts = np.arange(0, 951, 50)
    whitening = Whitening.fit(Statistics(SETTINGS).measure(frames, starts, LENGTH))
    similarity = example.similarity(frames, starts, LENGTH, whitening)
    assert similarity.max() <= 1
    assert set(starts[np.argsort(-similarity)[:3]]) == {100, 300, 700}
    quiet = ~np.isin(starts, (100, 200, 300, 500, 700, 800))
    assert similarity[quiet].max() < similarity[np.isin(starts, (100, 300, 700))].min()


def test_its_own_window_has_the_highest_similarity(example: CallExample) -> None:
    frames = recording(0, rising=(400,))
    starts = np.arange(0, 951, 5)
    whitening = Whitening.fit(Statistics(SETTINGS).measure(frames, starts, LENGTH))
    similarity = example.similarity(frames, starts, LENGTH, whitening)
    assert abs(int(starts[similarity.argmax()]) - 390) <= 5
    assert similarity.max() == pytest.approx(1, abs=0.05)


def test_whitened_columns_are_uncorrelated() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 3)) @ np.array([[3.0, 2.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 20.0]]) + 7
    whitening = Whitening.fit(X)
    Z = (X - whitening.mean) / whitening.deviation @ whitening.matrix
    off_diagonal = np.cov(Z.T)[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(off_diagonal, 0, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(whitening.directions(X), axis=1), 1, rtol=1e-5)


def test_box_without_sound_is_refused() -> None:
    frames = Frames.of(np.full((200, SETTINGS.n_mels), -60, np.float32), np.zeros((200, 7), np.float32))
    with pytest.raises(ValueError, match="no sound above the background"):
        CallExample.of(frames, Box(1.0, 1.5, 900, 3000), length=LENGTH, settings=SETTINGS)
