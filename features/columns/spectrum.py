"""Percentiles of the spectrum of a whole recording."""

import numpy as np

from features.frames.frames import Frames, percentile_rank

PERCENTILES = (0.10, 0.50, 0.90, 0.99)


def recording_spectrum(frames: Frames) -> np.ndarray:
    """Return `PERCENTILES` of the power in each mel band over a recording in dB, (4 * n_mels,).

    The power is not reduced by the background, so the low percentiles describe the site, the recorder and
    sounds that never stop. Percentiles are order statistics (NumPy's method "higher").

    Examples
    --------
    >>> log_mel = np.random.default_rng(0).normal(-60, 3, (500, 64)).astype(np.float32)
    >>> frames = Frames.of(log_mel, contrast=np.zeros((500, 7), np.float32))
    >>> spectrum = recording_spectrum(frames).reshape(4, 64)
    >>> spectrum.mean(axis=1).round().tolist()
    [-64.0, -60.0, -56.0, -53.0]
    """
    ascending = np.sort(frames.log_mel, axis=0)
    ranks = [percentile_rank(share, len(ascending)) for share in PERCENTILES]
    return ascending[ranks].ravel()
