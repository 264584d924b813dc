"""The frames of a recording, their excerpts, and overlays of two recordings.

On disk and between the steps of scoring, frames are packed: log-mel bands and contrast are side by side in
float16, in which levels have a resolution of 0.06 dB or better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from features.frames.spectral import Spectra, SpectralSettings

BACKGROUND = 0.20  # the background of a mel band is its 20th percentile over the recording


@dataclass(frozen=True)
class Frames:
    """Frames of a recording, or of a part of it.

    Attributes
    ----------
    log_mel : np.ndarray, shape (n_frames, n_mels)
        float32 power in mel bands, dB re full scale.
    levels : np.ndarray, shape (n_frames, n_mels)
        float32 power in mel bands, dB above the recording's background.
    contrast : np.ndarray, shape (n_frames, n_bands + 1)
        float32 spectral contrast, dB.

    Examples
    --------
    >>> log_mel = np.random.default_rng(0).normal(-60, 3, (100, 64)).astype(np.float32)
    >>> frames = Frames.of(log_mel, contrast=np.zeros((100, 7), np.float32))
    >>> len(frames), len(frames.excerpt(90, 20))
    (100, 20)
    """

    log_mel: np.ndarray
    levels: np.ndarray
    contrast: np.ndarray

    @classmethod
    def of(cls, log_mel: np.ndarray, contrast: np.ndarray) -> Self:
        """Return the frames of a whole recording, with the levels above its background."""
        return cls(log_mel, subtract_background(log_mel), contrast)

    @classmethod
    def of_packed(cls, packed: np.ndarray, settings: SpectralSettings) -> Self:
        """Return the frames of a whole recording from what `pack` returned for it."""
        frames = packed.astype(np.float32)
        return cls.of(frames[:, : settings.n_mels], frames[:, settings.n_mels :])

    def __len__(self) -> int:
        return len(self.log_mel)

    def excerpt(self, first: int, n_frames: int) -> "Frames":
        """Return `n_frames` frames, starting at frame `first`.

        Frames before the start and after the end of the recording contain its background.
        """
        before = min(max(-first, 0), n_frames)
        inside = slice(max(first, 0), max(first + n_frames, 0))
        log_mel, levels, contrast = self.log_mel[inside], self.levels[inside], self.contrast[inside]
        pad = ((before, n_frames - before - len(levels)), (0, 0))
        background = self.log_mel[0] - self.levels[0]
        levels = np.pad(levels, pad)
        log_mel = np.pad(log_mel - background, pad) + background
        return Frames(log_mel, levels, np.pad(contrast, pad))


def pack(spectra: Spectra) -> np.ndarray:
    """Return log-mel bands and contrast side by side in float16, shape (n_frames, n_mels + n_bands + 1)."""
    return np.concatenate(spectra, axis=1).astype(np.float16)


def overlay(call: Frames, place: Frames) -> Frames:
    """Return frames in which the sound of `call` is added to `place`.

    In each frame and mel band, the result has the higher of the two levels above the background, and the
    background of `place`. The level of the call above the background is therefore preserved.

    Parameters
    ----------
    call, place : Frames
        Both must have the same number of frames.
    """
    levels = np.maximum(call.levels, place.levels)
    background = place.log_mel - place.levels
    return Frames(levels + background, levels, np.maximum(call.contrast, place.contrast))


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Return the frames of all parts in sequence."""
    return Frames(
        np.concatenate([part.log_mel for part in parts]),
        np.concatenate([part.levels for part in parts]),
        np.concatenate([part.contrast for part in parts]),
    )


def subtract_background(log_mel: np.ndarray) -> np.ndarray:
    """Return the levels above the recording's background in dB, shape (n_frames, n_mels).

    The background of a mel band is its 20th percentile over the recording. Subtracting it removes the gain of
    the recorder.

    Parameters
    ----------
    log_mel : np.ndarray, shape (n_frames, n_mels)
        Power in mel bands of a whole recording, dB.
    """
    rank = percentile_rank(BACKGROUND, len(log_mel))
    return log_mel - np.partition(np.ascontiguousarray(log_mel.T), rank, axis=1)[:, rank]


def background_spectrum(log_mel: np.ndarray) -> np.ndarray:
    """Return the median level of each mel band over the recording in dB, shape (n_mels,).

    This spectrum characterises the site and the recorder.

    Parameters
    ----------
    log_mel : np.ndarray, shape (n_frames, n_mels)
        Power in mel bands of a whole recording, dB.
    """
    return np.median(log_mel, axis=0)


def percentile_rank(share: float, n: int) -> int:
    """Return the index of the `share` quantile in `n` ascending values (NumPy's method "higher").

    Examples
    --------
    >>> percentile_rank(0.9, 50)
    45
    """
    return int(np.ceil(share * (n - 1)))


def windowed(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the windows of an array of values, shape (n_columns, n_windows, length).

    Time is the last axis, because sums and sorts over contiguous values are several times faster.

    Parameters
    ----------
    values : np.ndarray, shape (n_columns, n_frames)
    starts : np.ndarray, shape (n_windows,)
        First frame of each window.
    length : int
        Frames per window.
    """
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=1)[:, starts]
