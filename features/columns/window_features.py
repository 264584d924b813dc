"""All that the GBM reads of a window: its statistics, the species' own bands, the species' own calls."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from features.columns.species_bands import BAND_MEASURES, BAND_REACH, band_measures, band_names
from features.columns.statistics import feature_extents, feature_names, window_statistics
from features.columns.templates import (
    N_STEPS,
    TEMPLATE_MEASURES,
    TEMPLATE_REACH,
    Templates,
    template_columns,
    template_names,
    window_correlations,
)
from features.common.files import read_arrays, replacing
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mel_edges

FILE = "descriptor.npz"


@dataclass(frozen=True)
class Descriptor:
    """What is measured in a window, and the columns that become of it.

    Measured once, the columns of any choice of bands and templates are drawn from it: in cross-validation
    each fold may only know those of its training recordings.

    bands : (n_bands, 2) first and last + 1 mel band, of which each species has one.
    band_of : (n_species,) the species' band.
    n_drawn : (n_species,) templates that a species' columns speak of.
    """

    settings: SpectralSettings
    bands: np.ndarray
    band_of: np.ndarray
    n_drawn: np.ndarray
    templates: Templates

    @property
    def n_species(self) -> int:
        return len(self.band_of)

    @property
    def reach(self) -> int:
        """Frames beyond a window, on either side, that its columns may hang on."""
        return max(BAND_REACH, TEMPLATE_REACH)

    def names(self) -> list[str]:
        """Return the names of the columns, in order."""
        return [
            *feature_names(self.settings),
            *band_names(self.bands[self.band_of], self.settings),
            *template_names(self.n_species),
        ]

    def extents(self) -> np.ndarray:
        """Return the (n_features, 2) lowest and highest frequency that each column tells of, Hz, or nan."""
        edges = mel_edges(self.settings)
        own = edges[self.bands[self.band_of] + [0, 1]]
        own[self.bands[self.band_of, 1] == 0] = np.nan  # of a species without a box
        return np.concatenate(
            [
                feature_extents(self.settings),
                np.repeat(own, len(BAND_MEASURES), axis=0),
                np.tile(own, (len(TEMPLATE_MEASURES), 1)),
            ]
        )

    def measure(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return (n_windows, n_measures) float16: statistics, measures of each band, correlations.

        Parameters
        ----------
        starts : (n_windows,) first frames.
        length : frames of a window.
        """
        measured = [
            window_statistics(frames, starts, length, self.settings),
            band_measures(frames, starts, length, self.bands, self.settings.frame_rate),
            window_correlations(frames, starts, length, self.templates),
        ]
        return np.concatenate(measured, axis=1).astype(np.float16)  # as coarse as the frames are

    def columns(self, measured: np.ndarray, usable: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_features) columns of what was measured.

        Parameters
        ----------
        usable : (n_windows, n_templates) or (n_templates,) bool, the templates that a window may use.
        """
        n, end = len(measured), measured.shape[1] - len(self.templates)
        begin = end - len(self.bands) * len(BAND_MEASURES)
        in_bands = measured[:, begin:end].reshape(n, len(self.bands), len(BAND_MEASURES))
        resemblance = template_columns(measured[:, end:], self.templates.species, usable, self.n_drawn)
        parts = [
            measured[:, :begin],
            in_bands[:, self.band_of].reshape(n, -1),
            resemblance.astype(np.float16),
        ]
        return np.concatenate(parts, axis=1)

    def describe(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the (n_windows, n_features) columns of a new recording's windows."""
        everything = np.ones(len(self.templates), bool)
        return self.columns(self.measure(frames, starts, length), everything)

    def save(self, folder: Path) -> None:
        """Write bands and templates to `folder`, as arrays."""
        templates = {field.name: getattr(self.templates, field.name) for field in fields(Templates)}
        with replacing(folder / FILE) as temporary:
            np.savez(temporary, bands=self.bands, band_of=self.band_of, n_drawn=self.n_drawn, **templates)

    @classmethod
    def load(cls, folder: Path, settings: SpectralSettings) -> Self:
        """Return the descriptor that `save` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError
            The file is another's.
        """
        arrays = read_arrays(folder / FILE)
        bands, band_of, n_drawn = (arrays.pop(name) for name in ("bands", "band_of", "n_drawn"))
        templates = Templates(**arrays)
        n, n_species = len(templates), len(band_of)
        in_range = (
            templates.patches.shape == (n, max(N_STEPS), settings.n_mels)
            and templates.band.shape == (n, 2)
            and len(templates.n_steps) == len(templates.species) == n
            and len(n_drawn) == n_species
            and bands.shape[1:] == (2,)
            and all(np.isin(templates.n_steps, N_STEPS))
            and all(np.isin(templates.species, np.arange(n_species)))
            and all(np.isin(band_of, np.arange(len(bands))))
            and ((bands >= 0) & (bands <= settings.n_mels)).all()
            and (n_drawn >= 0).all()
        )
        if not in_range:
            raise ValueError(f"{FILE} does not fit together")
        return cls(settings, bands, band_of, n_drawn, templates)
