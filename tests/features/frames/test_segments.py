"""Long recordings are divided into segments of the length of the training recordings."""

from collections.abc import Iterator

import numpy as np
import pytest

from features.frames.frames import Frames, pack
from features.frames.segments import TOLERANCE, divide, in_segments
from features.frames.spectral import Spectra, SpectralSettings

SETTINGS = SpectralSettings()


@pytest.mark.parametrize("n_frames", [1, 2, 60, 100, 101, 105, 106, 150, 201, 202, 350, 1001, 1007])
def test_segments_cover_the_recording_and_have_the_length_of_training_recordings(n_frames: int) -> None:
    longest = 101
    parts = divide(n_frames, longest)
    assert (parts[0].start, parts[-1].stop) == (0, n_frames)
    assert set(np.concatenate(parts)) == set(range(n_frames))
    if n_frames <= (1 + TOLERANCE) * longest:
        assert len(parts) == 1
    else:
        assert {len(part) for part in parts} == {longest}
        starts = [part.start for part in parts]
        assert starts[:-1] == [100 * k for k in range(len(parts) - 1)]
        assert 100 * (len(parts) - 1) < n_frames - 1 <= 100 * len(parts)


def test_whole_number_of_segments_does_not_overlap() -> None:
    assert divide(301, 101) == [range(101), range(100, 201), range(200, 301)]


def packed(n_frames: int, n_mels: int = SETTINGS.n_mels) -> np.ndarray:
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-60, 3, (n_frames, n_mels)).astype(np.float32)
    return pack(Spectra(log_mel, np.zeros((n_frames, SETTINGS.n_bands + 1), np.float32)))


@pytest.mark.parametrize("longest", [1, 2, 3, 50, 101])
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 100, 106, 107, 201, 202, 303, 1001])
def test_segments_of_a_stream_are_those_of_the_whole_recording(
    n_frames: int, block: int, longest: int
) -> None:
    whole = packed(n_frames)
    blocks = [whole[k : k + block] for k in range(0, n_frames, block)]
    found = list(in_segments(blocks, longest, SETTINGS))
    expected = divide(n_frames, longest)
    assert [first for first, _ in found] == [part.start for part in expected]
    for (_, segment), part in zip(found, expected, strict=True):
        alone = Frames.of_packed(whole[part.start : part.stop], SETTINGS)
        for name in ("log_mel", "levels", "contrast"):
            np.testing.assert_array_equal(getattr(segment, name), getattr(alone, name))


def test_stream_is_read_no_further_than_a_segment_needs() -> None:
    read = []

    def blocks() -> Iterator[np.ndarray]:
        for k in range(20):
            read.append(k)
            yield packed(50)

    segments = in_segments(blocks(), 101, SETTINGS)
    for n in range(5):
        next(segments)
        assert len(read) <= 3 + 2 * n


def test_background_of_a_segment_is_its_own() -> None:
    whole = packed(301)
    whole[150:, : SETTINGS.n_mels] += 20  # it rains
    found = dict(in_segments([whole], 101, SETTINGS))
    assert list(found) == [0, 100, 200]
    for segment in found.values():
        assert abs(np.quantile(segment.levels, 0.2)) < 0.5
    assert abs(np.quantile(Frames.of_packed(whole, SETTINGS).levels[200:], 0.2)) > 15
