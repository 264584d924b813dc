"""Examples for the report: species that are reported rightly, reported wrongly, and missed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import numpy as np
import pandas as pd

from features.data.box import Box
from features.data.metadata import later
from features.frames.frames import Frames
from features.frames.segments import in_segments
from features.frames.windows import overlap_share
from pipelines.core.detections import ScoredWindows
from pipelines.core.detector import Detector
from pipelines.core.member import ColumnScorer
from pipelines.reporting.contents import ScoredSplit
from pipelines.reporting.explain import Decisive, decisive_for_window

BOXED = "The window is the one that overlaps a boxed call most."
NOT_BOXED = "No box shows where the call is, so the window is the one with the highest score."
N_EXAMPLES = 3  # per kind, each of a different species
MARGIN = 2.0  # seconds shown before and after the window


@dataclass(frozen=True)
class Example:
    """A window of a recording, with a margin on both sides.

    Attributes
    ----------
    title : species, score, and whether it is right.
    place : recording, site, absolute time, and time in the recording.
    note : whether the window of a missed species shows a boxed call; "" for a reported species.
    frames : frames of the excerpt.
    start : start of the excerpt in the recording, s.
    window : the window, in the band of the species.
    calls : boxed calls of the species in the recording.
    decisive : columns that raise the score most; empty if no member explains its scores.
    """

    title: str
    place: str
    note: str
    frames: Frames
    start: float
    window: Box
    calls: list[Box]
    decisive: list[Decisive]


def find_examples(
    detector: Detector, explained: ColumnScorer | None, split: ScoredSplit
) -> dict[str, list[Example]]:
    """Return the examples under each heading: most certain and right, most certain and wrong, missed.

    Unknown species count as absent. The window of a missed species is the one that overlaps one of its boxed
    calls most. All other windows, and those of missed species without a box, have the highest score.

    Parameters
    ----------
    detector : scores the windows of the examples.
    explained : the member that explains its scores, if there is one.
    split : the recordings to choose from.
    """
    P = split.scores
    present, reported = split.known == 1, split.threshold <= P
    kinds = {
        "Most certain and right": np.where(present & reported, -P, np.inf),
        "Most certain and wrong": np.where(~present & reported, -P, np.inf),
        "Missed": np.where(present & ~reported, P, np.inf),
    }
    return {
        heading: [_example(detector, explained, split, cell=cell) for cell in _first_cells(order)]
        for heading, order in kinds.items()
    }


def _first_cells(order: np.ndarray) -> list[tuple[int, int]]:
    """Return the recordings and species of the lowest finite values, each of a different species."""
    found: dict[int, int] = {}
    for cell in np.argsort(order, axis=None):
        row, species = map(int, np.unravel_index(cell, order.shape))
        if np.isfinite(order[row, species]) and len(found) < N_EXAMPLES:
            found.setdefault(species, row)
    return [(row, species) for species, row in found.items()]


def _example(
    detector: Detector, explained: ColumnScorer | None, split: ScoredSplit, *, cell: tuple[int, int]
) -> Example:
    row, species = cell
    recording_id, score, threshold = split.recordings[row], split.scores[cell], split.threshold[species]
    packed = list(split.store.packed(recording_id, split.name))
    frames = Frames.of_packed(np.concatenate(packed), split.store.settings)
    # External scores are the same for all windows of a recording, so the best window does not need them.
    scores = detector.score_frames(packed, detector.zero_external_scores()).scores
    calls = split.calls(recording_id, species)
    missed = score < threshold
    shown = best_window(scores, species, calls if missed else calls.iloc[:0])
    t_min = float(scores.start[shown])
    t_max = min(t_min + scores.length, scores.duration)
    decisive = []
    if explained is not None:
        decisive = _decisive(detector, explained, packed, scores=scores, window=shown, species=species)
    rate = detector.settings.frame_rate
    n_frames = min(round((scores.length + 2 * MARGIN) * rate), len(frames))
    first = min(max(round((t_min - MARGIN) * rate), 0), len(frames) - n_frames)
    return Example(
        title=f"{detector.species[species]}, score {score:.2f} (threshold {threshold:.2f}): "
        f"{_verdict(split.known[cell], missed)}",
        place=place_in_words(split, recording_id, t_min=t_min, t_max=t_max),
        note="" if not missed else NOT_BOXED if calls.empty else BOXED,
        frames=frames.excerpt(first, n_frames),
        start=first / rate,
        window=Box(t_min, t_max, *map(float, detector.bands[species])),
        calls=[Box(*map(float, call)) for call in calls[list(Box._fields)].to_numpy()],
        decisive=decisive,
    )


def best_window(scores: ScoredWindows, species: int, calls: pd.DataFrame) -> int:
    """Return the window that overlaps a boxed call most; of equal ones, that with the highest score.

    Parameters
    ----------
    scores : scores of a recording.
    species : number of the species.
    calls : TP boxes of the species in the recording. Without a box, all windows are equal.
    """
    of_species = scores.windows[:, species]
    share = np.zeros(len(of_species))
    if not calls.empty:
        end = np.minimum(scores.start + scores.length, scores.duration)
        t_max = np.minimum(calls["t_max"].to_numpy(), scores.duration)  # a box can extend past the end
        shares = overlap_share(scores.start, end, t_min=calls["t_min"].to_numpy(), t_max=t_max)
        share = shares.max(axis=1)
    return max(range(len(share)), key=lambda k: (share[k], of_species[k]))


def place_in_words(split: ScoredSplit, recording_id: str, *, t_min: float, t_max: float) -> str:
    """Return recording, site and absolute time where they are known, and the time in the recording."""
    site, start, *_ = split.dataset.site_time(recording_id, split.name)
    parts = [f"Recording {recording_id}"]
    if site:
        parts.append(f"site {site}")
    if start:
        time = datetime.fromisoformat(later(start, t_min))
        clock = time.replace(tzinfo=None).isoformat(" ", "seconds")
        parts.append(f"{clock} ({time.tzname() or 'clock of the recorder'})")
    parts.append(f"from {t_min:.1f} s to {t_max:.1f} s of the recording")
    return ", ".join(parts)


def _verdict(known: float, missed: bool) -> str:
    if known == 1:
        return "missed" if missed else "right"
    return "wrong" if known == 0 else "wrong, as far as is known"


def _decisive(
    detector: Detector,
    explained: ColumnScorer,
    packed: Iterable[np.ndarray],
    *,
    scores: ScoredWindows,
    window: int,
    species: int,
) -> list[Decisive]:
    """Return the columns that raise the score of a window most."""
    rate = detector.settings.frame_rate
    length, _ = detector.window.in_frames(rate)
    k = int(np.searchsorted(scores.first, window, side="right")) - 1
    first, segment = next(islice(in_segments(packed, detector.longest, detector.settings), k, None))
    X = explained.inputs(segment, np.array([round(scores.start[window] * rate) - first]), length)
    return decisive_for_window(explained, X, species, names=detector.species)
