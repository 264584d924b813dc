"""Explanations: the columns and frequencies that decide on a species, for a model and for one window."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from features.columns.window_features import WindowFeatures
from features.frames.spectral import mel_centres
from pipelines.core.member import ColumnScorer

N_COLUMNS = 3  # columns named per species or window


class Decisive(NamedTuple):
    """A decisive column of a species: its name in words, and its share or the log odds that it adds."""

    column: str
    value: float


def importance_by_band(scorer: ColumnScorer) -> np.ndarray:
    """Return the importance of each mel band for each species, (n_species, n_mels); rows sum to 1.

    The importance of a column is spread evenly over the mel bands that it covers. Columns without a
    frequency extent are left out. So are columns of other species, because the model only uses them to
    compare the species.
    """
    features, share = scorer.features, scorer.importance()
    low, high = features.extents().T
    centres = mel_centres(features.settings)[:, None]
    covered = (low <= centres) & (centres <= high)  # (n_mels, n_columns), never where the extent is nan
    spread = covered / np.maximum(covered.sum(axis=0), 1)
    owner = features.species()
    found = np.empty((len(share), features.settings.n_mels))
    for species, of_species in enumerate(share):
        own = (owner == -1) | (owner == species)
        found[species] = spread[:, own] @ of_species[own]
    return found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def decisive_columns(scorer: ColumnScorer, species: Sequence[str]) -> list[list[Decisive]]:
    """Return the columns with the largest importance for each species, largest first."""
    names = names_in_words(scorer.features, species)
    return [
        [Decisive(names[k], float(share[k])) for k in np.argsort(-share)[:N_COLUMNS] if share[k] > 0]
        for share in scorer.importance()
    ]


def decisive_for_window(
    scorer: ColumnScorer, X: np.ndarray, species: int, *, names: Sequence[str]
) -> list[Decisive]:
    """Return the columns that raise the log odds of a species most in a window, and by how much.

    Parameters
    ----------
    X : (1, n_columns) columns of the window.
    species : number of the species.
    names : names of all species.
    """
    values = scorer.contributions(X, species)[0]
    columns = names_in_words(scorer.features, names)
    return [Decisive(columns[j], float(values[j])) for j in np.argsort(-values)[:N_COLUMNS]]


def names_in_words(features: WindowFeatures, species: Sequence[str]) -> list[str]:
    """Return the names of the columns, with names of species instead of their numbers."""
    return [
        (name if k < 0 else f"{species[k]}: {name.removeprefix(f's{k}_')}").replace("_", " ")
        for name, k in zip(features.names(), features.species(), strict=True)
    ]
