"""Sequences of mel-band levels in windows, for recurrent models."""

import numpy as np

from features.frames.frames import Frames

FRAMES_PER_STEP = 2


def steps(levels: np.ndarray) -> np.ndarray:
    """Return the means of successive pairs of (n_frames, n_mels) levels, shape (n_frames // 2, n_mels)."""
    n_steps = len(levels) // FRAMES_PER_STEP
    return levels[: n_steps * FRAMES_PER_STEP].reshape(n_steps, FRAMES_PER_STEP, levels.shape[1]).mean(axis=1)


def window_sequences(frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the float16 mel-band levels of a recording's windows, shape (n_windows, n_steps, n_mels).

    Each step is the mean of two frames, in dB above the recording's background. A recording that is shorter
    than a window is padded with background, 0 dB.

    Parameters
    ----------
    frames : Frames
        Frames of the recording.
    starts : np.ndarray, shape (n_windows,)
        First frame of each window.
    length : int
        Frames per window.

    Examples
    --------
    >>> frames = Frames.of(np.zeros((200, 64), np.float32), contrast=np.zeros((200, 7), np.float32))
    >>> window_sequences(frames, np.array([0, 50, 100]), length=100).shape
    (3, 50, 64)
    """
    levels = np.pad(frames.levels, ((0, max(length - len(frames), 0)), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(levels, length, axis=0)[starts]  # (W, K, L)
    n_steps = length // FRAMES_PER_STEP
    pairs = windows[:, :, : n_steps * FRAMES_PER_STEP].reshape(*windows.shape[:2], n_steps, FRAMES_PER_STEP)
    return pairs.mean(axis=3).transpose(0, 2, 1).astype(np.float16)  # (W, K, T) -> (W, T, K)
