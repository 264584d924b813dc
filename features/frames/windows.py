"""The grid of windows over a recording, and the labels of the windows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.common.errors import UserError

MAX_LENGTH = 600.0  # s; shorter recordings are padded to the length of a window, which needs memory


@dataclass(frozen=True)
class WindowSettings:
    """Length and hop of windows, and the overlap that a box needs to label a window.

    Raises
    ------
    UserError
        The length is not above 0 and at most `MAX_LENGTH`, or the hop is not above 0 and at most half the
        length.

    Examples
    --------
    >>> WindowSettings(length=2.0, hop=1.0).in_frames(frame_rate=50)
    (100, 50)
    """

    length: float = 1.0
    """Window length, s."""
    hop: float = 0.5
    """Time between the starts of successive windows, s."""
    min_overlap: float = 0.5
    """A box labels a window if they overlap by at least this share of the shorter one."""

    def __post_init__(self) -> None:
        if not 0 < self.length <= MAX_LENGTH:
            raise UserError(
                f"window length is {self.length} s; it must be above 0 and at most {MAX_LENGTH} s"
            )
        if not 0 < self.hop <= self.length / 2:
            # Windows that overlap by at least half guarantee that every box labels at least one window.
            raise UserError(
                f"window hop is {self.hop} s; it must be above 0 and at most half the window length, "
                f"{self.length / 2} s"
            )

    def in_frames(self, frame_rate: float) -> tuple[int, int]:
        """Return the length and the hop in frames."""
        return round(self.length * frame_rate), round(self.hop * frame_rate)


def window_starts(n_frames: int, length: int, hop: int) -> np.ndarray:
    """Return the first frame of each window of a recording, shape (n_windows,).

    Windows start every `hop` frames. If they do not reach the end of the recording, an additional window ends
    there. A recording that is not longer than a window has one window, which starts at 0.

    Parameters
    ----------
    n_frames : int
        Frames of the recording.
    length, hop : int
        Window length and hop, in frames.

    Examples
    --------
    >>> window_starts(n_frames=221, length=100, hop=50)
    array([  0,  50, 100, 120])
    """
    # Frame k is centred on sample k * hop_length, so the recording lasts n_frames - 1 hops.
    last = max(n_frames - 1 - length, 0)
    starts = np.arange(0, last + 1, hop)
    return starts if starts[-1] == last else np.append(starts, last)


def overlap_share(start: np.ndarray, end: np.ndarray, *, t_min: np.ndarray, t_max: np.ndarray) -> np.ndarray:
    """Return the overlap of each window and box, as a share of the shorter one, shape (n_windows, n_boxes).

    Parameters
    ----------
    start, end : np.ndarray, shape (n_windows,)
        Start and end of each window, s.
    t_min, t_max : np.ndarray, shape (n_boxes,)
        Start and end of each box, s.

    Examples
    --------
    >>> start = np.array([0.0, 1.0])
    >>> overlap_share(start, start + 2, t_min=np.array([1.5]), t_max=np.array([2.5]))
    array([[0.5],
           [1. ]])
    """
    overlap = np.minimum(end[:, None], t_max) - np.maximum(start[:, None], t_min)
    return np.maximum(overlap, 0) / np.minimum((end - start)[:, None], t_max - t_min)


def label_windows(
    start: np.ndarray,
    end: np.ndarray,
    *,
    tp: pd.DataFrame,
    fp: pd.DataFrame,
    absent: np.ndarray,
    min_overlap: float,
) -> np.ndarray:
    """Return the labels of a recording's windows: 1, 0, or nan for unknown, shape (n_windows, n_species).

    A box labels its species in every window that it overlaps by at least `min_overlap`: a TP box with 1, an
    FP box with 0. TP boxes override FP boxes. A box that overlaps a window by less does not change the labels
    of the window. The labels are float32.

    Parameters
    ----------
    start, end : np.ndarray, shape (n_windows,)
        Start and end of each window, s. The last end is the end of the recording.
    tp, fp : pd.DataFrame
        Boxes of the recording: species_id, t_min and t_max in seconds.
    absent : np.ndarray, shape (n_species,)
        bool, species that are known to be absent from the whole recording.
    min_overlap : float
        Minimum overlap of a box and a window that it labels, as a share of the shorter one.

    Examples
    --------
    >>> start = np.array([0.0, 1.0, 2.0])
    >>> tp = pd.DataFrame({"species_id": [0], "t_min": [1.5], "t_max": [2.5]})
    >>> absent = np.array([False, True])
    >>> label_windows(start, start + 2, tp=tp, fp=tp.iloc[:0], absent=absent, min_overlap=0.75)
    array([[nan,  0.],
           [ 1.,  0.],
           [nan,  0.]], dtype=float32)
    """
    labels = np.full((len(start), len(absent)), np.nan, np.float32)
    labels[:, absent] = 0
    for boxes, value in ((fp, 0.0), (tp, 1.0)):  # TP last, because it overrides FP
        t_max = np.minimum(boxes["t_max"].to_numpy(), end[-1])  # a box can extend past the end
        share = overlap_share(start, end, t_min=boxes["t_min"].to_numpy(), t_max=t_max)
        window, box = np.nonzero(share >= min_overlap)
        labels[window, boxes["species_id"].to_numpy()[box]] = value
    return labels


def overlay_labels(Y: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the labels of overlays, each of which is made from two windows.

    A label is 1 where either window has 1, 0 where both have 0, and nan if none of them is above 0 and one is
    unknown. Soft labels count as probabilities of independent events.

    Parameters
    ----------
    Y, other : np.ndarray, shape (n_windows, n_species)
        float32 labels of the first and of the second window of each overlay: 1, 0, a number between them for
        a soft label, or nan for unknown.

    Examples
    --------
    >>> Y = np.array([[1, 0.5, 0.5, 0, 0]], np.float32)
    >>> overlay_labels(Y, np.array([[np.nan, np.nan, 0.5, np.nan, 0]], np.float32))
    array([[1.  , 0.5 , 0.75,  nan, 0.  ]], dtype=float32)
    """
    either = 1 - (1 - np.nan_to_num(Y)) * (1 - np.nan_to_num(other))
    return np.where(either > 0, either, Y + other)  # 0 + 0 = 0; nan if one is nan
