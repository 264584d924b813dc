"""How frequent each species is among new recordings: told by their scores, or by a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from features.dataset import DatasetError, read_numbers
from features.files import replacing
from models.prevalence import estimate_prevalence

PRIOR_HELP = (
    "prevalence of the species among the recordings: none, as in training; estimate, by the recordings' own "
    "scores; or a table of species,prevalence"
)
LEAST, MOST = 1e-4, 1 - 1e-4  # a table's 0 would mean that no sound could prove the species


def prevalence_of(source: str, P: np.ndarray, prior: float, species: Sequence[str]) -> np.ndarray:
    """Return the (n_species,) prevalence that `--prior` asks for.

    Parameters
    ----------
    source : "estimate", or a table's path.
    P : (n_recordings, n_species) probabilities where every species has prevalence `prior`.
    species : names.

    Raises
    ------
    DatasetError
        The table lacks a species, or has a number that is no share.
    """
    if source == "estimate":
        return estimate_prevalence(P, prior)
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
    return np.clip(prevalence, LEAST, MOST)


def write_prevalence(file: Path, species: Sequence[str], prevalence: np.ndarray) -> None:
    """Write a table of species_id, name and prevalence."""
    with replacing(file) as temporary:
        table = pd.DataFrame({"name": list(species), "prevalence": prevalence})
        table.to_csv(temporary, index_label="species_id", float_format="%.4f")
