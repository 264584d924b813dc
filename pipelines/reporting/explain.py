"""Why the GBM says so: which columns decide, hence which bands, for a species and for one window."""

import re
from collections.abc import Sequence

import numpy as np

from features.frames.spectral import SpectralSettings, mel_centres
from pipelines.core.detector import GBMWindows

N_REASONS = 3
OF_A_SPECIES = re.compile(r"s(\d+)_(.*)")


def importance_by_band(gbm: GBMWindows) -> np.ndarray:
    """Return (n_species, n_mels) the share that each mel band has in deciding on a species.

    A column's share is spread evenly over the bands that it tells of; columns that tell of all are
    left out, and templates and bands of other species with them, for what they tell is a comparison.
    """
    descriptor, share = gbm.descriptor, gbm.model.importance()
    names, settings = descriptor.names(), descriptor.settings
    low, high = descriptor.extents().T
    centres = mel_centres(settings)[:, None]
    inside = (low <= centres) & (centres <= high)  # (n_mels, n_features); never where nan
    spread = inside / np.maximum(inside.sum(axis=0), 1)
    found = np.empty((len(share), settings.n_mels))
    for species, of_species in enumerate(share):
        others = np.array([owner(name) not in (None, species) for name in names])
        found[species] = spread[:, ~others] @ of_species[~others]
    return found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def deciding_frequency(by_band: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Return the (n_species,) centre of the mel band that decides most on a species, Hz."""
    return mel_centres(settings)[by_band.argmax(axis=1)]


def of_species(gbm: GBMWindows, species: Sequence[str]) -> list[list[tuple[str, float]]]:
    """Return for each species its strongest columns, in words, and their share in deciding."""
    names = gbm.descriptor.names()
    return [
        [
            (in_words(names[k], species), float(share[k]))
            for k in np.argsort(-share)[:N_REASONS]
            if share[k] > 0
        ]
        for share in gbm.model.importance()
    ]


def of_window(gbm: GBMWindows, x: np.ndarray, k: int, species: Sequence[str]) -> list[tuple[str, float]]:
    """Return the columns that raise a species' log odds most in a window, in words, and by how much.

    Parameters
    ----------
    x : (n_features,) the window's columns.
    k : number of the species.
    """
    values = gbm.model.contributions(x[None], k)[0]
    names = gbm.descriptor.names()
    return [(in_words(names[j], species), float(values[j])) for j in np.argsort(-values)[:N_REASONS]]


def owner(name: str) -> int | None:
    """Return the number of the species whose band or templates a column is of."""
    found = OF_A_SPECIES.fullmatch(name)
    return int(found[1]) if found else None


def in_words(name: str, species: Sequence[str]) -> str:
    """Return a column's name with the species' in place of its number."""
    found = OF_A_SPECIES.fullmatch(name)
    if found:
        name = f"{species[int(found[1])]}: {found[2]}"
    return name.replace("_", " ")
