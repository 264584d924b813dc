"""The frames of a recording: what they hold, their excerpts, and one laid over another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

BACKGROUND = 0.20  # percentile of a band over its recording


@dataclass(frozen=True)
class Frames:
    """Frames, time first.

    log_mel : (n_frames, n_mels) float32, dB re full-scale power.
    levels : (n_frames, n_mels) float32, dB above the recording's background.
    contrast : (n_frames, n_bands + 1) float32, dB.
    """

    log_mel: np.ndarray
    levels: np.ndarray
    contrast: np.ndarray

    @classmethod
    def of(cls, log_mel: np.ndarray, contrast: np.ndarray) -> Self:
        """Return the frames of a whole recording, which tell its background."""
        return cls(log_mel, subtract_background(log_mel), contrast)

    def __len__(self) -> int:
        return len(self.log_mel)

    def excerpt(self, first: int, n_frames: int) -> "Frames":
        """Return `n_frames` frames from `first` on; beyond the recording's ends there is background."""
        before = min(max(-first, 0), n_frames)
        inside = slice(max(first, 0), max(first + n_frames, 0))
        log_mel, levels, contrast = self.log_mel[inside], self.levels[inside], self.contrast[inside]
        pad = ((before, n_frames - before - len(levels)), (0, 0))
        background = self.log_mel[0] - self.levels[0]
        levels = np.pad(levels, pad)
        log_mel = np.pad(log_mel - background, pad) + background
        return Frames(log_mel, levels, np.pad(contrast, pad))


def overlay(call: Frames, place: Frames) -> Frames:
    """Return `call` as it would sound at `place`, frame by frame: in each band the louder masks the other.

    Levels are those above each one's own background, so the call stands out there as it did here.
    """
    levels = np.maximum(call.levels, place.levels)
    background = place.log_mel - place.levels
    return Frames(levels + background, levels, np.maximum(call.contrast, place.contrast))


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Return frames one after the other."""
    return Frames(
        np.concatenate([part.log_mel for part in parts]),
        np.concatenate([part.levels for part in parts]),
        np.concatenate([part.contrast for part in parts]),
    )


def subtract_background(log_mel: np.ndarray) -> np.ndarray:
    """Return (n_frames, n_mels) dB above the recording's own background.

    The background of a band is its 20th percentile over the recording: what is there most of the
    time, at whatever distance and gain the recorder stood.
    """
    rank = percentile_rank(BACKGROUND, len(log_mel))
    return log_mel - np.partition(np.ascontiguousarray(log_mel.T), rank, axis=1)[:, rank]


def background_spectrum(log_mel: np.ndarray) -> np.ndarray:
    """Return the (n_mels,) median spectrum of a recording, dB: the site, not the species."""
    return np.median(log_mel, axis=0)


def percentile_rank(share: float, n: int) -> int:
    """Return where a percentile stands among `n` sorted values: NumPy's method "higher"."""
    return int(np.ceil(share * (n - 1)))


def windowed(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the (n_columns, n_windows, length) windows of (n_columns, n_frames) values.

    Time last and side by side: sums and sorts along it are then several times faster.
    """
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=1)[:, starts]
