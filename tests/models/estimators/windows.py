"""Windows with calls, for tests of networks."""

import numpy as np


def windows(n_recordings: int = 40, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return windows, labels and truth of recordings with three windows of 20 frames and 8 bands each.

    The call of species k is in band 2k and then in band 2k + 1.
    """
    rng = np.random.default_rng(seed)
    truth = np.eye(3)[np.arange(n_recordings) % 3]
    X = rng.normal(0, 1, (3 * n_recordings, 20, 8))
    Y = np.full((3 * n_recordings, 3), np.nan)
    for r in range(n_recordings):
        k, start = r % 3, rng.integers(0, 14)
        window = 3 * r + rng.integers(0, 3)
        X[window, start : start + 3, 2 * k] += 6
        X[window, start + 3 : start + 6, 2 * k + 1] += 6
        Y[window] = truth[r]
    return X.astype(np.float16), Y, truth
