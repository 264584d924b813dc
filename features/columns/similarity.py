"""Similarity of windows to one example of a call, for species without labels.

References
----------
.. [1] Hariharan, Malik & Ramanan (2012), "Discriminative decorrelation for clustering and classification":
   with the covariance of all windows, one example is enough for a linear discriminant.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from features.columns.sequences import FRAMES_PER_STEP
from features.columns.statistics import Statistics
from features.columns.templates import N_STEPS, CutCalls, cut_calls, window_correlations
from features.data.box import Box
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

RIDGE = 0.3  # added to the eigenvalues of the correlation matrix of the columns
MAX_DEVIATION = 5.0  # columns are limited to this many standard deviations from their mean
SHARE = 2 / 3  # of the columns in the similarity; the rest is that of the template correlation


@dataclass(frozen=True)
class Whitening:
    """Transformation after which the columns of ordinary windows are uncorrelated, with similar variances.

    Attributes
    ----------
    mean, deviation : np.ndarray, shape (n_columns,)
        Of each column.
    matrix : np.ndarray, shape (n_columns, n_columns)
    """

    mean: np.ndarray
    deviation: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray) -> Self:
        """Return the whitening of the columns of ordinary windows, (n_windows, n_columns)."""
        X = X.astype(np.float32)
        mean, deviation = X.mean(axis=0), X.std(axis=0) + 1e-6
        Z = _standardised(X, mean, deviation)
        variances, axes = np.linalg.eigh(np.atleast_2d(Z.T @ Z / len(Z)))
        return cls(mean, deviation, axes / np.sqrt(np.maximum(variances, 0) + RIDGE))

    def directions(self, X: np.ndarray) -> np.ndarray:
        """Return the whitened columns of windows, (n_windows, n_columns), each row with norm 1."""
        rows = _standardised(X.astype(np.float32), self.mean, self.deviation) @ self.matrix
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _standardised(X: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.clip((X - mean) / deviation, -MAX_DEVIATION, MAX_DEVIATION)


@dataclass(frozen=True)
class CallExample:
    """An example of a call.

    Attributes
    ----------
    calls : CutCalls
        Consecutive parts of the call.
    columns : np.ndarray, shape (1, n_columns)
        `Statistics` of the window around the centre of the call.
    settings : SpectralSettings

    Examples
    --------
    >>> settings = SpectralSettings()
    >>> levels = np.random.default_rng(0).normal(-60, 3, (500, 64)).astype(np.float32)
    >>> levels[100:130, 20:30] += 30
    >>> levels[300:330, 20:30] += 30
    >>> frames = Frames.of(levels, contrast=np.zeros((500, 7), np.float32))
    >>> example = CallExample.of(frames, Box(2.0, 2.6, 1200, 3000), length=50, settings=settings)
    >>> starts = np.arange(0, 500, 50)
    >>> whitening = Whitening.fit(Statistics(settings).measure(frames, starts, 50))
    >>> similarity = example.similarity(frames, starts, 50, whitening)
    >>> sorted(starts[np.argsort(-similarity)[:2]].tolist())
    [100, 300]
    """

    calls: CutCalls
    columns: np.ndarray
    settings: SpectralSettings

    @classmethod
    def of(cls, frames: Frames, box: Box, *, length: int, settings: SpectralSettings) -> Self:
        """Return the example in a box of a recording.

        Parameters
        ----------
        frames : Frames
            Frames of the recording.
        box : Box
            Time and frequencies of the call.
        length : int
            Frames per window.
        settings : SpectralSettings

        Raises
        ------
        ValueError
            There is no sound above the background in the box.
        """
        part = max(N_STEPS) * FRAMES_PER_STEP / settings.frame_rate
        t_min = np.arange(box.t_min, box.t_max, part)
        parts = pd.DataFrame({"recording_id": "", "species_id": 0, "t_min": t_min})
        parts = parts.assign(t_max=np.minimum(t_min + part, box.t_max), f_min=box.f_min, f_max=box.f_max)
        calls, _ = cut_calls(parts, lambda _: frames, 1, settings=settings, seed=0)
        if not len(calls):
            raise ValueError("there is no sound above the background in the box")
        centre = round((box.t_min + box.t_max) / 2 * settings.frame_rate)
        first = np.array([max(min(centre - length // 2, len(frames) - length), 0)])
        return cls(calls, Statistics(settings).measure(frames, first, length), settings)

    def similarity(self, frames: Frames, starts: np.ndarray, length: int, whitening: Whitening) -> np.ndarray:
        """Return the similarity of windows to the example, at most 1, shape (n_windows,).

        It is the weighted mean of the correlation of spectrograms and of the cosine between whitened columns.

        Parameters
        ----------
        frames : Frames
            Frames of a recording.
        starts : np.ndarray, shape (n_windows,)
            First frame of each window.
        length : int
            Frames per window.
        whitening : Whitening
        """
        correlation = window_correlations(frames, starts, length, calls=self.calls).mean(axis=1)
        columns = whitening.directions(Statistics(self.settings).measure(frames, starts, length))
        cosine = columns @ whitening.directions(self.columns)[0]
        return (1 - SHARE) * correlation + SHARE * cosine
