"""Long recordings are divided into segments of the length of the training recordings."""

import numpy as np
import pytest

from features.frames.frames import Frames
from features.frames.segments import TOLERANCE, divide, in_segments


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


def test_background_of_a_segment_is_its_own() -> None:
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-60, 3, (301, 8)).astype(np.float32)
    log_mel[150:] += 20  # it rains
    frames = Frames.of(log_mel, np.zeros((301, 7), np.float32))
    found = dict(in_segments(frames, 101))
    assert list(found) == [0, 100, 200]
    for first, segment in found.items():
        np.testing.assert_array_equal(segment.log_mel, log_mel[first : first + 101])
        assert abs(np.quantile(segment.levels, 0.2)) < 0.5
    assert abs(np.quantile(frames.levels[200:], 0.2)) > 15


def test_short_recording_is_not_copied() -> None:
    frames = Frames.of(np.zeros((50, 8), np.float32), np.zeros((50, 7), np.float32))
    ((first, segment),) = in_segments(frames, 101)
    assert first == 0
    assert segment is frames
