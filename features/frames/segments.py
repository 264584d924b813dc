"""Segments: parts of a long recording that are scored like recordings of their own."""

import math
from collections.abc import Iterator

from features.frames.frames import Frames

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


def in_segments(frames: Frames, longest: int) -> Iterator[tuple[int, Frames]]:
    """Yield the first frame and the frames of each segment, with levels above the segment's own background.

    Parameters
    ----------
    frames : Frames
        Frames of a whole recording.
    longest : int
        Frames of the longest training recording.
    """
    divided = divide(len(frames), longest)
    if len(divided) == 1:
        yield 0, frames
        return
    for part in divided:
        inside = slice(part.start, part.stop)
        yield part.start, Frames.of(frames.log_mel[inside], frames.contrast[inside])
