"""Sequences of mel-band levels: steps, windows of steps, and their products with weights."""

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


def sliding_products(levels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the products of weights and the sequence that begins at each step, (n_positions, n_weights).

    Value (t, k) is the sum of `levels[t : t + n] * weights[k]`, and `n_positions` is `n_levels - n + 1`. This
    is a cross-correlation along time.

    Parameters
    ----------
    levels : np.ndarray, shape (n_levels, n_mels)
        At least n levels.
    weights : np.ndarray, shape (n_weights, n, n_mels)

    Examples
    --------
    >>> levels = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 1.0]])
    >>> sliding_products(levels, np.array([[[1.0, 0.0], [0.0, 10.0]]])).tolist()
    [[1.0], [12.0]]
    """
    n_weights, n, n_mels = weights.shape
    n_positions = len(levels) - n + 1
    n_rows = -(-n_positions // n)
    padded = np.zeros(((n_rows + 1) * n - 1, n_mels), levels.dtype)
    padded[: len(levels)] = levels
    # Sequences that begin n steps apart do not overlap: they are the rows of a matrix. There is one such
    # matrix for each of the first n steps, and none of them is a copy.
    step, value = padded.strides
    sequences = np.lib.stride_tricks.as_strided(
        padded, (n, n_rows, n * n_mels), (step, n * step, value), writeable=False
    )
    products = sequences @ weights.reshape(n_weights, -1).T  # (n, n_rows, n_weights)
    return products.swapaxes(0, 1).reshape(-1, n_weights)[:n_positions]
