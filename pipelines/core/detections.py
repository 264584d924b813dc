"""Detections: the intervals of a recording in which a species is reported."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Detection(NamedTuple):
    """A reported interval.

    Attributes
    ----------
    species : number of the species.
    t_min, t_max : interval, s.
    f_min, f_max : band of the species, Hz.
    score : highest score of a window in the interval.
    threshold : lowest score at which the species is reported.
    """

    species: int
    t_min: float
    t_max: float
    f_min: float
    f_max: float
    score: float
    threshold: float


class ScoredWindows(NamedTuple):
    """Scores of a recording, of its segments and of their windows.

    A recording that is not longer than those of training has one segment.

    Attributes
    ----------
    segments : (n_segments, n_species) scores of the segments.
    first : (n_segments,) index of each segment's first window.
    windows : (n_windows, n_species) scores of the windows.
    start : (n_windows,) start of each window, s.
    length : window length, s.
    duration : duration of the recording, s.
    """

    segments: np.ndarray
    first: np.ndarray
    windows: np.ndarray
    start: np.ndarray
    length: float
    duration: float

    @property
    def recording(self) -> np.ndarray:
        """Scores of the recording, (n_species,): the highest of its segments."""
        return self.segments.max(axis=0)

    def segment_times(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the start and the end of each segment, s."""
        start = self.start[self.first]
        last = np.append(self.first[1:], len(self.start)) - 1
        end = self.start[last] + self.length
        end[-1] = self.duration
        return start, end


def detect(scored: ScoredWindows, threshold: np.ndarray, bands: np.ndarray) -> list[Detection]:
    """Return the detections of a recording, sorted by start.

    A species is reported in the segments in which its score reaches its threshold. It is reported in all
    windows of these segments whose score also reaches the threshold, or in the window with the highest score
    of the segment if there is none. Overlapping and adjacent windows form one detection.

    Parameters
    ----------
    threshold : (n_species,) scores.
    bands : (n_species, 2) lowest and highest frequency of each species, Hz.
    """
    found = []
    windows_of_segment = np.split(np.arange(len(scored.windows)), scored.first[1:])
    for species in np.flatnonzero(scored.recording >= threshold):
        p = scored.windows[:, species]
        of_segments = [
            rows[p[rows] >= min(threshold[species], p[rows].max())]
            for rows, score in zip(windows_of_segment, scored.segments[:, species], strict=True)
            if score >= threshold[species]
        ]
        # Sort by start, because the last segment can overlap the one before it.
        hits = np.concatenate(of_segments)
        hits = hits[np.argsort(scored.start[hits], kind="stable")]
        gaps = np.flatnonzero(scored.start[hits[1:]] > scored.start[hits[:-1]] + scored.length)
        for merged in np.split(hits, gaps + 1):
            end = min(scored.start[merged[-1]] + scored.length, scored.duration)
            times = float(scored.start[merged[0]]), float(max(end, scored.start[merged[0]]))
            low, high = bands[species].tolist()
            score = float(p[merged].max())
            found.append(Detection(int(species), *times, low, high, score, float(threshold[species])))
    return sorted(found, key=lambda detection: (detection.t_min, detection.species))


def detection_table(
    detections: Sequence[Detection], species: Sequence[str], verifiable: np.ndarray
) -> pd.DataFrame:
    """Return a table of detections with the fields of `Detection` and `verifiable`; species have names.

    Parameters
    ----------
    species : names.
    verifiable : (n_species,) bool, whether the threshold of a species is verifiable.
    """
    table = pd.DataFrame(detections, columns=list(Detection._fields))
    numbers = [detection.species for detection in detections]
    return table.assign(species=[species[k] for k in numbers], verifiable=verifiable[numbers])
