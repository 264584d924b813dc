"""Where in a recording a species is found, and the tables that other programs open."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from features.files import replacing
from pipelines.recogniser import Scored

RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Species", "Score"),
)


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


def write_detections(file: Path, detections: Mapping[str, list[Detection]], species: tuple[str, ...]) -> None:
    """Write the detections of all recordings: recording_id, species, seconds, Hz and score."""
    rows = [
        (recording_id, species[d.species], *d[1:])
        for recording_id, found in detections.items()
        for d in found
    ]
    with replacing(file) as temporary:
        columns = ["recording_id", "species", "t_min", "t_max", "f_min", "f_max", "score"]
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, float_format="%.6g")


def write_raven(file: Path, found: list[Detection], species: tuple[str, ...]) -> None:
    """Write a selection table as Raven Pro does, with columns for the species and the score."""
    rows = [
        (n, "Spectrogram 1", 1, *d[1:5], species[d.species], d.score) for n, d in enumerate(found, start=1)
    ]
    with replacing(file) as temporary:
        pd.DataFrame(rows, columns=list(RAVEN_COLUMNS)).to_csv(
            temporary, index=False, sep="\t", float_format="%.6g"
        )


def write_audacity(file: Path, found: list[Detection], species: tuple[str, ...]) -> None:
    """Write a label track with frequencies, as Audacity exports it."""
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(
            opened, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
        )
        for d in found:
            table.writerow([f"{d.t_min:.6f}", f"{d.t_max:.6f}", species[d.species].replace("\t", " ")])
            table.writerow(["\\", f"{d.f_min:.6f}", f"{d.f_max:.6f}"])
