"""Where in a recording a species is found."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from features.common.files import replacing
from pipelines.core.detector import Scored


class Detection(NamedTuple):
    """species : number. t_min, t_max : seconds. f_min, f_max : Hz. score : of its best window."""

    species: int
    t_min: float
    t_max: float
    f_min: float
    f_max: float
    score: float


def detect(scored: Scored, threshold: np.ndarray, bands: np.ndarray) -> list[Detection]:
    """Return the detections of a recording, by time.

    A species is found where its score of the recording reaches its threshold: in the windows that
    reach it too, or else in the best; windows that overlap make one detection.

    Parameters
    ----------
    threshold : (n_species,) scores.
    bands : (n_species, 2) Hz.
    """
    found = []
    for species in np.flatnonzero(scored.recording >= threshold):
        p = scored.windows[:, species]
        hits = np.flatnonzero(p >= min(threshold[species], p.max()))
        gaps = np.flatnonzero(scored.start[hits[1:]] > scored.start[hits[:-1]] + scored.length)
        for run in np.split(hits, gaps + 1):
            end = min(scored.start[run[-1]] + scored.length, scored.duration)
            times = float(scored.start[run[0]]), float(max(end, scored.start[run[0]]))
            low, high = bands[species].tolist()
            found.append(Detection(int(species), *times, low, high, float(p[run].max())))
    return sorted(found, key=lambda detection: (detection.t_min, detection.species))


def boxes(found: list[Detection], species: tuple[str, ...]) -> pd.DataFrame:
    """Return detections as a table of boxes, as `features.data.annotations` has them."""
    table = pd.DataFrame(found, columns=list(Detection._fields))
    return table.assign(species=[species[d.species] for d in found])


def write_detections(file: Path, detections: Mapping[str, list[Detection]], species: tuple[str, ...]) -> None:
    """Write the detections of all recordings: recording_id, species, seconds, Hz and score."""
    columns = ["recording_id", *Detection._fields]
    parts = [boxes(found, species).assign(recording_id=r) for r, found in detections.items() if found]
    with replacing(file) as temporary:
        pd.concat([pd.DataFrame(columns=columns), *parts])[columns].to_csv(
            temporary, index=False, float_format="%.6g"
        )
