"""The interface of a column block, the boxes that it is fitted on, and its file on disk."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from features.common.files import read_arrays, replacing
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings

MAX_NUMBER = np.iinfo(np.int32).max  # largest fold or group number in stored arrays


@dataclass(frozen=True)
class TrainingBoxes:
    """The TP boxes that column blocks are fitted on.

    Attributes
    ----------
    boxes : pd.DataFrame
        One row per box: recording_id, species_id, t_min and t_max in seconds, f_min and f_max in Hz.
    fold : np.ndarray, shape (n_boxes,)
        Fold of each box's recording, from 0 to `n_folds` - 1.
    group : np.ndarray, shape (n_boxes,)
        Group of each box's recording. Recordings of one group share a background.
    n_species : int
    n_folds : int
    load : callable
        Returns the frames of a training recording, given its id.
    seed : int
        Seed of random draws.
    """

    boxes: pd.DataFrame
    fold: np.ndarray
    group: np.ndarray
    n_species: int
    n_folds: int
    load: Callable[[str], Frames]
    seed: int


@dataclass(frozen=True)
class ColumnBlock(ABC):
    """A family of columns: names, frequency ranges, species and values.

    The values are computed in two stages. `measure` is slow. It is called once per window and uses the fitted
    data (bands, templates) from all folds. `columns` is fast. It computes the columns of one fold from those
    measures that the fold may use.

    Attributes
    ----------
    settings : SpectralSettings
        Settings of the frames.
    """

    settings: SpectralSettings

    @classmethod
    @abstractmethod
    def fit(cls, settings: SpectralSettings, training: TrainingBoxes) -> Self:
        """Return the block for new recordings, fitted on all boxes."""

    @abstractmethod
    def outside(self, fold: int) -> Self:
        """Return the block restricted to fitted data from boxes outside `fold`.

        `measure` returns the same values as before.
        """

    @property
    @abstractmethod
    def reach(self) -> int:
        """Number of frames before and after a window that affect its columns."""

    @property
    @abstractmethod
    def n_measures(self) -> int:
        """Number of values that `measure` returns per window."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the columns, in order."""

    @abstractmethod
    def extents(self) -> np.ndarray:
        """Return the lowest and highest frequency of each column in Hz, (n_columns, 2); nan if undefined."""

    @abstractmethod
    def species(self) -> np.ndarray:
        """Return the species that each column belongs to, shape (n_columns,); -1 if it has none."""

    @abstractmethod
    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the float32 measures of a recording's windows, shape (n_windows, n_measures).

        Parameters
        ----------
        frames : Frames
            Frames of a recording.
        starts : np.ndarray, shape (n_windows,)
            First frame of each window.
        length : int
            Frames per window. A recording with fewer frames has one window, with all its frames.
        """

    @abstractmethod
    def columns(self, measured: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Return the columns, shape (n_windows, n_columns).

        Parameters
        ----------
        measured : np.ndarray, shape (n_windows, n_measures)
            What `measure` returned, rounded to float16.
        groups : np.ndarray, shape (n_windows, n_sources), optional
            Groups of the training recordings that each window was made from: one for a window of a recording,
            two for an overlay. Fitted data from these groups is not used for the window, because the window
            itself could be part of that data. None for windows of new recordings.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted data to `folder`, as arrays."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, settings: SpectralSettings, n_species: int) -> Self:
        """Return the block that `save` wrote.

        Raises
        ------
        ValueError
            The file is missing or not valid.
        """


@dataclass(frozen=True)
class ArraySpec:
    """Requirements for a stored array.

    Attributes
    ----------
    shape : tuple of int and str
        An int is a fixed size. A string stands for a size that is equal wherever the same string is used.
    dtype : type
        Type that the array is converted to. The stored type must be of the same kind (float, int or bool).
    low, high : float
        Smallest and largest allowed value.
    """

    shape: tuple[int | str, ...]
    dtype: type
    low: float
    high: float


def save_block(block: ColumnBlock, file: Path) -> None:
    """Write all fields of a block except the settings to an npz file."""
    names = [field.name for field in fields(block) if field.name != "settings"]
    with replacing(file) as temporary:
        np.savez(temporary, **{name: getattr(block, name) for name in names})


def read_block(file: Path, specs: Mapping[str, ArraySpec]) -> dict[str, np.ndarray]:
    """Return the arrays that `save_block` wrote, validated.

    Raises
    ------
    ValueError
        The file is missing or not readable, or an array is missing or does not match its specification.
    """
    stored = read_arrays(file, *specs)
    sizes: dict[str, int] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, spec in specs.items():
        array = stored[name]
        expected = tuple(
            sizes.setdefault(size, found) if isinstance(size, str) else size
            for size, found in zip(spec.shape, array.shape, strict=False)
        )
        if array.ndim != len(spec.shape) or array.shape != expected:
            raise ValueError(f"{file.name}: array '{name}' has shape {array.shape}, not {spec.shape}")
        if array.dtype.kind != np.dtype(spec.dtype).kind:
            raise ValueError(f"{file.name}: array '{name}' has type {array.dtype}, not {spec.dtype.__name__}")
        if not ((array >= spec.low) & (array <= spec.high)).all():  # also false for nan
            raise ValueError(f"{file.name}: array '{name}' has values outside {spec.low:g} to {spec.high:g}")
        arrays[name] = array.astype(spec.dtype, copy=False)
    return arrays
