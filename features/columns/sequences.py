"""The frames of a window -> a short sequence of band levels, for recurrent models."""

import numpy as np

from features.frames.frames import Frames

FRAMES_PER_STEP = 2


def steps(levels: np.ndarray) -> np.ndarray:
    """Return the (n_frames // 2, n_mels) means of every two of (n_frames, n_mels) levels."""
    n_steps = len(levels) // FRAMES_PER_STEP
    return levels[: n_steps * FRAMES_PER_STEP].reshape(n_steps, FRAMES_PER_STEP, levels.shape[1]).mean(axis=1)


def window_sequences(frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the (n_windows, n_steps, n_mels) float16 band levels of a recording's windows.

    dB above the recording's background, the mean of every two frames. A recording shorter than a
    window is followed by background, 0 dB.

    Parameters
    ----------
    starts : (n_windows,) first frames.
    length : frames of a window.
    """
    levels = np.pad(frames.levels, ((0, max(length - len(frames), 0)), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(levels, length, axis=0)[starts]  # (W, K, L)
    n_steps = length // FRAMES_PER_STEP
    steps = windows[:, :, : n_steps * FRAMES_PER_STEP].reshape(*windows.shape[:2], n_steps, FRAMES_PER_STEP)
    return steps.mean(axis=3).transpose(0, 2, 1).astype(np.float16)  # (W, K, T) -> (W, T, K)
