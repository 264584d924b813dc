"""Scores of windows -> scores of recordings."""

import numpy as np

POOLINGS = ("max", "top2", "top3", "mean")


def pool(P: np.ndarray, first: np.ndarray, how: str) -> np.ndarray:
    """Return the (n_recordings, n_species) scores of the recordings.

    Parameters
    ----------
    P : (n_windows, n_species) scores, the windows of a recording side by side.
    first : (n_recordings,) first window of each recording.
    how : "max", "mean", or "top2" and "top3" for the mean of the two and three highest windows.
    """
    if how == "max":
        return np.maximum.reduceat(P, first, axis=0)
    n_windows = np.diff(np.append(first, len(P)))
    if how == "mean":
        return np.add.reduceat(P, first, axis=0) / n_windows[:, None].astype(P.dtype)
    if how in ("top2", "top3"):
        k = int(how[-1])
        return np.stack(
            [_top_mean(P[start : start + n], k) for start, n in zip(first, n_windows, strict=True)]
        )
    raise ValueError(f"pooling '{how}' is none of {', '.join(POOLINGS)}")


def _top_mean(P: np.ndarray, k: int) -> np.ndarray:
    return np.sort(P, axis=0)[-k:].mean(axis=0)
