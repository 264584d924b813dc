"""How frequent each species is among new recordings: told by their scores, or by a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from features.common.files import replacing
from features.data.dataset import DatasetError, read_numbers
from models.scoring.prevalence import estimate_prevalence

PRIOR_HELP = (
    "prevalence of the species among the recordings: none, as in training; estimate, by the recordings' own "
    "scores; or a table of species,prevalence"
)
LEAST, MOST = 1e-4, 1 - 1e-4  # a table's 0 would mean that no sound could prove the species


class Prevalence(Protocol):
    """What `--prior` asks for, of (n_recordings, n_species) probabilities where each species has `prior`."""

    def __call__(self, P: np.ndarray, prior: float) -> np.ndarray:
        """Return the (n_species,) prevalence."""
        ...


def prevalence_of(source: str, species: Sequence[str]) -> Prevalence | None:
    """Return what gives the prevalence that `--prior` asks for; None for "none".

    A table is read at once, so that what is wrong in it is said before anything is computed.

    Parameters
    ----------
    source : "none", "estimate", or a table's path.
    species : names.

    Raises
    ------
    DatasetError
        The table lacks a species, or has a number that is no share.
    """
    if source == "none":
        return None
    if source == "estimate":
        return estimate_prevalence
    path = Path(source)
    table = read_numbers(path, "species", "prevalence")
    ids = {name: k for k, name in enumerate(species)} | {f"s{k}": k for k in range(len(species))}
    prevalence = np.full(len(species), np.nan)
    for name, value in table.items():
        if name not in ids:
            raise DatasetError(
                f"{path}: species '{name}' is none of the model's; remove its line, or rename it"
            )
        if value > 1:
            raise DatasetError(f"{path}: prevalence {value:g} of '{name}' is no share; give one of at most 1")
        prevalence[ids[name]] = value
    missing = [name for name, value in zip(species, prevalence, strict=True) if np.isnan(value)]
    if missing:
        raise DatasetError(f"{path}: lacks {', '.join(missing)}; add their lines")
    return lambda P, prior: np.clip(prevalence, LEAST, MOST)


def write_prevalence(file: Path, species: Sequence[str], prevalence: np.ndarray) -> None:
    """Write a table of species_id, name and prevalence."""
    with replacing(file) as temporary:
        table = pd.DataFrame({"name": list(species), "prevalence": prevalence})
        table.to_csv(temporary, index_label="species_id", float_format="%.4f")
