"""Examples for the report: highest scores of present and absent species, lowest scores of present ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.frames.frames import Frames
from features.frames.store import FrameStore
from features.frames.windows import window_starts
from pipelines.core.detector import Detector
from pipelines.core.member import ColumnScorer
from pipelines.reporting.explain import Decisive, decisive_for_window

N_EXAMPLES = 3  # per kind, each of a different species
MARGIN = 2.0  # seconds shown before and after the window


@dataclass(frozen=True)
class Example:
    """The window of a recording in which a species has its highest score, with a margin on both sides.

    Attributes
    ----------
    title : caption.
    frames : frames of the excerpt.
    start : start of the window, s from the start of the excerpt.
    length : window length, s.
    band : lowest and highest frequency of the species, Hz.
    decisive : columns that raise the score most; empty if no member explains its scores.
    """

    title: str
    frames: Frames
    start: float
    length: float
    band: tuple[float, float]
    decisive: list[Decisive]


@dataclass(frozen=True)
class ScoredSplit:
    """Recordings of a split with their frames, scores and truth.

    Attributes
    ----------
    name : "train" or "test".
    recordings : ids.
    store : frames of the recordings.
    scores, truth : (n_recordings, n_species).
    """

    name: str
    recordings: Sequence[str]
    store: FrameStore
    scores: np.ndarray
    truth: np.ndarray


def find_examples(
    detector: Detector, explained: ColumnScorer | None, split: ScoredSplit
) -> dict[str, list[Example]]:
    """Return the examples under each heading: most certain and right, most certain and wrong, missed.

    Parameters
    ----------
    detector : scores the windows of the examples.
    explained : the member that explains its scores, if there is one.
    split : the recordings to choose from.
    """
    P, Y = split.scores, split.truth
    wrong = "wrong, as far as is known" if split.name == "train" else "wrong"
    kinds = {
        "Most certain and right": ("right", np.where(Y == 1, -P, np.inf)),
        "Most certain and wrong": (wrong, np.where(Y == 0, -P, np.inf)),
        "Missed": ("missed", np.where(Y == 1, P, np.inf)),
    }
    found: dict[str, list[Example]] = {}
    for heading, (verdict, order) in kinds.items():
        found[heading] = []
        shown: set[int] = set()
        for cell in np.argsort(order, axis=None):
            row, species = map(int, np.unravel_index(cell, order.shape))
            if not np.isfinite(order[row, species]) or len(shown) == N_EXAMPLES:
                break
            if species in shown:
                continue
            shown.add(species)
            title = (
                f"{detector.species[species]} in {split.recordings[row]}: {P[row, species]:.2f}, {verdict}"
            )
            frames = split.store.load(split.recordings[row], split.name)
            found[heading].append(_example(detector, explained, frames, species=species, title=title))
    return found


def _example(
    detector: Detector, explained: ColumnScorer | None, frames: Frames, *, species: int, title: str
) -> Example:
    # External scores are the same for all windows of a recording, so the best window does not need them.
    scores = detector.score_frames(frames, detector.zero_external_scores()).scores
    rate = detector.settings.frame_rate
    best = int(scores.windows[:, species].argmax())
    decisive = []
    if explained is not None:
        length, hop = detector.window.in_frames(rate)
        X = explained.inputs(frames, window_starts(len(frames), length, hop)[[best]], length)
        decisive = decisive_for_window(explained, X, species, names=detector.species)
    n_frames = min(round((scores.length + 2 * MARGIN) * rate), len(frames))
    first = min(max(round((scores.start[best] - MARGIN) * rate), 0), len(frames) - n_frames)
    low, high = detector.bands[species]
    return Example(
        title=title,
        frames=frames.excerpt(first, n_frames),
        start=float(scores.start[best]) - first / rate,
        length=scores.length,
        band=(low, high),
        decisive=decisive,
    )
