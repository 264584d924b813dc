"""Statistics of the frames in a window: band energies, MFCCs and spectral contrast."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from features.columns.block import ColumnBlock, TrainingBoxes
from features.frames.frames import Frames, percentile_rank, windowed
from features.frames.spectral import SpectralSettings, mel_centres, mel_edges, mfcc


@dataclass(frozen=True)
class Statistics(ColumnBlock):
    """Means, standard deviations and percentiles of band energies, MFCCs and spectral contrast.

    Band energies are in dB above the recording's background. `delta` is the mean absolute change of a band
    from frame to frame. Percentiles are order statistics (NumPy's method "higher"). These columns have no
    fitted data.

    Examples
    --------
    >>> from features.frames.spectral import SpectralSettings
    >>> block = Statistics(SpectralSettings())
    >>> block.names()[0]
    'band_0.11kHz_mean'
    >>> len(block.names()), block.extents().shape
    (445, (445, 2))
    """

    @classmethod
    def fit(cls, settings: SpectralSettings, training: TrainingBoxes) -> Self:
        return cls(settings)

    def outside(self, fold: int) -> Self:
        return self

    @property
    def reach(self) -> int:
        return 0

    @property
    def n_measures(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        return [
            f"{name}_{statistic}"
            for family in _families(self.settings)
            for statistic in family.statistics
            for name in family.names
        ]

    def extents(self) -> np.ndarray:
        return np.concatenate(
            [np.tile(family.extents, (len(family.statistics), 1)) for family in _families(self.settings)]
        )

    def species(self) -> np.ndarray:
        return np.full(self.n_measures, -1)

    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        length = min(length, len(frames))
        rows = []
        for family in _families(self.settings):
            values = family.values(frames)
            # A window of n frames has n - 1 changes from frame to frame.
            n_values = length - (len(frames) - len(values))
            windows = _Windows(windowed(np.ascontiguousarray(values.T), starts, n_values))
            rows += [STATISTICS[statistic](windows) for statistic in family.statistics]
        return np.ascontiguousarray(np.concatenate(rows).T)  # (F, W) -> (W, F)

    def columns(self, measured: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        return measured

    def save(self, folder: Path) -> None:
        """Write nothing: there is no fitted data."""

    @classmethod
    def load(cls, folder: Path, settings: SpectralSettings, n_species: int) -> Self:
        return cls(settings)


@dataclass(frozen=True)
class _Windows:
    """Values in the windows of a recording, shape (n_columns, n_windows, n_values)."""

    values: np.ndarray

    @cached_property
    def ascending(self) -> np.ndarray:
        # A complete sort is faster than np.partition, which has no vector instructions for short rows.
        return np.sort(self.values, axis=2)

    def mean(self) -> np.ndarray:
        return self.values.mean(axis=2)

    def sd(self) -> np.ndarray:
        return self.values.std(axis=2)

    def p50(self) -> np.ndarray:
        return self._percentile(0.50)

    def p90(self) -> np.ndarray:
        return self._percentile(0.90)

    def p99(self) -> np.ndarray:
        return self._percentile(0.99)

    def mean_or_zero(self) -> np.ndarray:
        """Return the mean; 0 for windows without values."""
        return self.values.sum(axis=2) / np.float32(max(self.values.shape[2], 1))

    def _percentile(self, share: float) -> np.ndarray:
        return self.ascending[:, :, percentile_rank(share, self.values.shape[2])]


STATISTICS: dict[str, Callable[[_Windows], np.ndarray]] = {
    "mean": _Windows.mean,
    "sd": _Windows.sd,
    "p50": _Windows.p50,
    "p90": _Windows.p90,
    "p99": _Windows.p99,
    "delta": _Windows.mean_or_zero,
}


class _Family(NamedTuple):
    """A family of values per frame, and the names of the `STATISTICS` that are computed from them.

    values : function from frames to their values, (n_values, len(names)); n_values may differ from n_frames.
    names, extents : name, and lowest and highest frequency in Hz, of each column of the values.
    """

    values: Callable[[Frames], np.ndarray]
    names: list[str]
    extents: np.ndarray
    statistics: tuple[str, ...]


@lru_cache
def _families(settings: SpectralSettings) -> list[_Family]:
    edges = mel_edges(settings)
    bands = [f"band_{centre / 1000:.2f}kHz" for centre in mel_centres(settings)]
    band_extents = np.stack([edges[:-2], edges[2:]], axis=1)
    octaves = settings.contrast_fmin * 2.0 ** np.arange(settings.n_bands)
    return [
        _Family(
            values=lambda frames: frames.levels,
            names=bands,
            extents=band_extents,
            statistics=("mean", "sd", "p50", "p90", "p99"),
        ),
        _Family(
            values=lambda frames: np.abs(np.diff(frames.log_mel, axis=0)),
            names=bands,
            extents=band_extents,
            statistics=("delta",),
        ),
        _Family(
            values=lambda frames: mfcc(frames.log_mel, settings.n_mfcc),
            names=[f"mfcc{k}" for k in range(settings.n_mfcc)],
            extents=np.full((settings.n_mfcc, 2), np.nan),  # each coefficient depends on all frequencies
            statistics=("mean", "sd"),
        ),
        _Family(
            values=lambda frames: frames.contrast,
            names=[f"contrast{k}" for k in range(settings.n_bands + 1)],
            extents=np.stack([np.r_[0.0, octaves], np.r_[octaves, settings.sr / 2]], axis=1),
            statistics=("mean", "sd", "p90"),
        ),
    ]
