"""The window grid over a recording, and the labels of its windows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.common.errors import UserError


@dataclass(frozen=True)
class WindowSettings:
    length: float = 1.0
    """Seconds of a window."""
    hop: float = 0.5
    """Seconds from window to window."""
    min_overlap: float = 0.5
    """Share of a box, or of the window if that is shorter, at which the box labels the window."""

    def __post_init__(self) -> None:
        if not 0 < self.length < float("inf"):
            raise UserError(f"window length is {self.length} s; give a length above 0")
        if not 0 < self.hop <= self.length / 2:
            # With at least half of each window shared, every box labels at least one window.
            raise UserError(f"window hop is {self.hop} s; give a hop above 0, at most {self.length / 2} s")

    def in_frames(self, frame_rate: float) -> tuple[int, int]:
        """Return length and hop in frames, of which there are `frame_rate` a second."""
        return round(self.length * frame_rate), round(self.hop * frame_rate)


def window_starts(n_frames: int, length: int, hop: int) -> np.ndarray:
    """Return the (n_windows,) first frames of a recording's windows.

    Windows stand on a grid of `hop` frames; one more, flush with the end, covers what the grid
    leaves over. A recording no longer than a window has the one that starts at 0.
    """
    # Frame k is centred on hop k, so n_frames - 1 hops cover the recording.
    last = max(n_frames - 1 - length, 0)
    starts = np.arange(0, last + 1, hop)
    return starts if starts[-1] == last else np.append(starts, last)


def overlap_share(start: np.ndarray, end: np.ndarray, t_min: np.ndarray, t_max: np.ndarray) -> np.ndarray:
    """Return the (n_windows, n_boxes) overlap of windows and boxes, as a share of the shorter one.

    All times in seconds.
    """
    overlap = np.minimum(end[:, None], t_max) - np.maximum(start[:, None], t_min)
    return np.maximum(overlap, 0) / np.minimum((end - start)[:, None], t_max - t_min)


def label_windows(
    start: np.ndarray,
    end: np.ndarray,
    tp: pd.DataFrame,
    fp: pd.DataFrame,
    absent: np.ndarray,
    min_overlap: float,
) -> np.ndarray:
    """Return the (n_windows, n_species) labels of a recording's windows: 1, 0, or nan for unknown.

    A TP box that covers enough of a window makes its species 1, an FP box makes it 0, TP wins over
    FP. A window that a TP box only touches stays unknown.

    Parameters
    ----------
    start, end : (n_windows,) seconds; the last end is the recording's.
    tp, fp : the recording's boxes: species_id, t_min and t_max in seconds.
    absent : (n_species,) bool, species that a complete truth says are nowhere in the recording.
    min_overlap : share of the shorter of box and window at which a box covers enough.
    """
    labels = np.full((len(start), len(absent)), np.nan, np.float32)
    labels[:, absent] = 0
    for boxes, value in ((fp, 0.0), (tp, 1.0)):  # TP last: it wins
        t_max = np.minimum(boxes["t_max"].to_numpy(), end[-1])  # a box may run past the end
        share = overlap_share(start, end, boxes["t_min"].to_numpy(), t_max)
        window, box = np.nonzero(share >= min_overlap)
        labels[window, boxes["species_id"].to_numpy()[box]] = value
    return labels


def overlay_labels(Y: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the labels of windows laid over others: 1 where either is, 0 where both are, else unknown."""
    return np.where((Y == 1) | (other == 1), np.float32(1), Y + other)  # 0 + 0, else nan
