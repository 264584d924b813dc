"""Pooling of window scores to recording scores."""

import numpy as np

POOLINGS = ("max", "top2", "top3", "mean")


def pool(P: np.ndarray, first: np.ndarray, how: str) -> np.ndarray:
    """Return the pooled scores of recordings, (n_recordings, n_species).

    Parameters
    ----------
    P : (n_windows, n_species) window scores, grouped by recording.
    first : (n_recordings,) index of the first window of each recording.
    how : "max", "mean", "top2" or "top3"; the last two are the means of the two or three highest scores.

    Raises
    ------
    ValueError
        `how` is not one of these names.

    Examples
    --------
    >>> import numpy as np
    >>> P = np.array([[0.1], [0.9], [0.5]])  # two windows of one recording, one window of another
    >>> pool(P, np.array([0, 2]), "max").tolist()
    [[0.9], [0.5]]
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
    raise ValueError(f"unknown pooling '{how}'; use one of {', '.join(POOLINGS)}")


def _top_mean(P: np.ndarray, k: int) -> np.ndarray:
    return np.sort(P, axis=0)[-k:].mean(axis=0)
