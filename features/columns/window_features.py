"""All columns of a window, computed by the blocks in `BLOCKS`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Self

import numpy as np

from features.columns.block import ColumnBlock, TrainingBoxes
from features.columns.patches import Patches
from features.columns.species_bands import SpeciesBands
from features.columns.statistics import Statistics
from features.columns.templates import Templates
from features.common.files import digest
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

BLOCKS: dict[str, type[ColumnBlock]] = {
    "statistics": Statistics,
    "species_bands": SpeciesBands,
    "templates": Templates,
    "patches": Patches,
}
"""The column blocks, in order. To add a block, write its module and add a line for it here."""


@dataclass(frozen=True)
class WindowFeatures:
    """The columns of all blocks, side by side.

    Attributes
    ----------
    settings : SpectralSettings
        Settings of the frames.
    blocks : mapping of str to ColumnBlock
        The fitted blocks, with the same names as in `BLOCKS`.

    Examples
    --------
    A recording of 10 s with a box of species 0 from 2.0 s to 2.5 s:

    >>> import pandas as pd
    >>> log_mel = np.random.default_rng(0).normal(-60, 3, (501, 64)).astype(np.float32)
    >>> frames = Frames.of(log_mel, contrast=np.zeros((501, 7), np.float32))
    >>> box = {"recording_id": "a", "species_id": 0, "t_min": 2.0, "t_max": 2.5, "f_min": 900, "f_max": 1800}
    >>> training = TrainingBoxes(
    ...     boxes=pd.DataFrame([box]), fold=np.array([0]), group=np.array([0]), n_species=1, n_folds=2,
    ...     load=lambda recording_id: frames, seed=0,
    ... )
    >>> features = WindowFeatures.fit(SpectralSettings(), training)
    >>> features.transform(frames, starts=np.array([0, 50, 100]), length=50).shape
    (3, 455)
    >>> features.names()[features.slices()["species_bands"]][0]
    's0_0.95-1.78kHz_level_p90'
    """

    settings: SpectralSettings
    blocks: Mapping[str, ColumnBlock]

    @classmethod
    def fit(cls, settings: SpectralSettings, training: TrainingBoxes) -> Self:
        """Return the columns for new recordings, fitted on all boxes."""
        blocks = {name: block.fit(settings, training) for name, block in BLOCKS.items()}
        return cls(settings, blocks)

    def outside(self, fold: int) -> Self:
        """Return the columns restricted to fitted data from boxes outside `fold`.

        `measure` returns the same values as before.
        """
        blocks = {name: block.outside(fold) for name, block in self.blocks.items()}
        return type(self)(self.settings, blocks)

    @property
    def reach(self) -> int:
        """Number of frames before and after a window that affect its columns; the maximum over the blocks."""
        return max(block.reach for block in self.blocks.values())

    def names(self) -> list[str]:
        """Return the names of the columns, in order."""
        return [name for block in self.blocks.values() for name in block.names()]

    def extents(self) -> np.ndarray:
        """Return the lowest and highest frequency of each column in Hz, (n_columns, 2); nan if undefined."""
        return np.concatenate([block.extents() for block in self.blocks.values()])

    def species(self) -> np.ndarray:
        """Return the species that each column belongs to, shape (n_columns,); -1 if it has none."""
        return np.concatenate([block.species() for block in self.blocks.values()])

    def slices(self) -> dict[str, slice]:
        """Return the slice of the columns that belongs to each block, by block name."""
        limits = pairwise(accumulate((len(block.names()) for block in self.blocks.values()), initial=0))
        return {name: slice(first, stop) for name, (first, stop) in zip(self.blocks, limits, strict=True)}

    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the float16 measures that `columns` needs, shape (n_windows, n_measures).

        Parameters
        ----------
        frames : Frames
            Frames of a recording.
        starts : np.ndarray, shape (n_windows,)
            First frame of each window.
        length : int
            Frames per window.
        """
        measured = [block.measure(frames, starts, length) for block in self.blocks.values()]
        return np.concatenate(measured, axis=1).astype(np.float16)  # frames have no higher precision either

    def columns(self, measured: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Return the columns as float16, shape (n_windows, n_columns).

        Parameters
        ----------
        measured : np.ndarray, shape (n_windows, n_measures)
            What `measure` returned.
        groups : np.ndarray, shape (n_windows, n_sources), optional
            Groups of the training recordings that each window was made from; None for windows of new
            recordings. See `ColumnBlock.columns`.
        """
        ends = accumulate(block.n_measures for block in self.blocks.values())
        parts = np.split(measured, list(ends)[:-1], axis=1)
        columns = [
            block.columns(part, groups).astype(np.float16, copy=False)
            for block, part in zip(self.blocks.values(), parts, strict=True)
        ]
        return np.concatenate(columns, axis=1)

    def transform(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the columns of a new recording's windows as float16, shape (n_windows, n_columns).

        Parameters
        ----------
        frames : Frames
            Frames of the recording.
        starts : np.ndarray, shape (n_windows,)
            First frame of each window.
        length : int
            Frames per window.
        """
        return self.columns(self.measure(frames, starts, length))

    @cached_property
    def digest(self) -> str:
        """Digest of the settings and the fitted data, which determine the columns."""
        values = (getattr(block, f.name) for block in self.blocks.values() for f in fields(block))
        return digest(*self.blocks, *values)

    def save(self, folder: Path) -> None:
        """Write one file to `folder` for each block that has fitted data."""
        for block in self.blocks.values():
            block.save(folder)

    @classmethod
    def load(cls, folder: Path, settings: SpectralSettings, n_species: int) -> Self:
        """Return the columns that `save` wrote.

        Raises
        ------
        ValueError
            A file is missing or not valid.
        """
        blocks = {name: block.load(folder, settings, n_species) for name, block in BLOCKS.items()}
        return cls(settings, blocks)
