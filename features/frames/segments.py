"""Segments: parts of a long recording that are scored like recordings of their own."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

TOLERANCE = 0.05
"""A recording is not divided if it is longer than a segment by at most this share, because recorders do not
always stop after the same number of samples."""


def divide(n_frames: int, longest: int) -> list[range]:
    """Return the frames of each segment of a recording.

    Segments have `longest` frames. The first frame of each is the last one of the segment before it, because
    frame k is centred on sample k * hop_length. The last segment ends at the end of the recording, so it can
    overlap the one before it by more. A recording that is not longer is one segment.

    Parameters
    ----------
    n_frames : int
        Frames of the recording.
    longest : int
        Frames of the longest training recording.

    Examples
    --------
    >>> divide(n_frames=2501, longest=1001)
    [range(0, 1001), range(1000, 2001), range(1500, 2501)]
    >>> divide(n_frames=1002, longest=1001)
    [range(0, 1002)]
    """
    if n_frames <= (1 + TOLERANCE) * longest:
        return [range(n_frames)]
    step = max(longest - 1, 1)
    n_segments = math.ceil((n_frames - 1) / step)
    firsts = [min(k * step, n_frames - longest) for k in range(n_segments)]
    return [range(first, first + longest) for first in firsts]


def in_segments(
    packed: Iterable[np.ndarray], longest: int, settings: SpectralSettings
) -> Iterator[tuple[int, Frames]]:
    """Yield the first frame and the frames of each segment, with levels above the segment's own background.

    The segments are those of `divide`. Blocks are only held until their segments are complete, so the memory
    does not depend on the length of the recording.

    Parameters
    ----------
    packed : iterable of np.ndarray
        Packed frames of a whole recording, in blocks of any length.
    longest : int
        Frames of the longest training recording.
    settings : SpectralSettings
    """
    undivided, step = (1 + TOLERANCE) * longest, max(longest - 1, 1)
    held: list[np.ndarray] = []  # frames from `start` to `stop`
    first = start = stop = 0  # `first` is that of the next segment
    for block in packed:
        held.append(block)
        stop += len(block)
        if stop > max(undivided, first + step + 1):
            frames = np.concatenate(held)
            while stop > first + step + 1:
                yield first, Frames.of_packed(frames[first - start :][:longest], settings)
                first += step
            keep = max(min(first, stop - longest), 0)  # the last segment ends at the end of the recording
            held, start = [frames[keep - start :].copy()], keep
    last = 0 if stop <= undivided else min(first, stop - longest)
    n_frames = stop if stop <= undivided else longest
    yield last, Frames.of_packed(np.concatenate(held)[last - start :][:n_frames], settings)
