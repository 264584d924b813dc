"""The flag `--prior`: prevalence of the species among new recordings, estimated or read from a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from features.common.files import replacing
from features.common.formulas import escape_formulas
from features.data.species import species_numbers
from features.data.tables import DatasetError, read_numbers
from models.scoring.prevalence import estimate_prevalence

PRIOR_HELP = (
    "prevalence of the species among the scored recordings: none (as in training), estimate (from the "
    "scores), or a CSV file with columns species,prevalence"
)
MIN_PREVALENCE, MAX_PREVALENCE = 1e-4, 1 - 1e-4  # at 0 or 1, all probabilities would be 0 or 1


class PrevalenceRule(Protocol):
    """Function that returns the prevalence of the species in scored recordings."""

    def __call__(self, P: np.ndarray, prior: float) -> np.ndarray:
        """Return the prevalence of each species, shape (n_species,).

        Parameters
        ----------
        P : (n_recordings, n_species) probabilities that assume the prevalence `prior`.
        """
        ...


def prevalence_rule(source: str, species: Sequence[str]) -> PrevalenceRule | None:
    """Return the rule for a value of `--prior`, or None for "none".

    A table is read immediately, so that an error in it is reported before anything is computed.

    Parameters
    ----------
    source : "none", "estimate", or the path of a table.
    species : names of the species.

    Raises
    ------
    DatasetError
        A species is missing from the table or unknown, or a prevalence is not between 0 and 1.
    """
    if source == "none":
        return None
    if source == "estimate":
        return estimate_prevalence
    path = Path(source)
    table = read_numbers(path, "species", "prevalence")
    number = species_numbers(species)
    prevalence = np.full(len(species), np.nan)
    for name, value in table.items():
        if name not in number:
            raise DatasetError(f"{path}: unknown species '{name}'; remove its line, or correct the name")
        if value > 1:
            raise DatasetError(
                f"{path}: prevalence {value:g} of '{name}' is above 1; give a share from 0 to 1"
            )
        prevalence[number[name]] = value
    missing = [name for name, value in zip(species, prevalence, strict=True) if np.isnan(value)]
    if missing:
        raise DatasetError(f"{path}: missing species {', '.join(missing)}; add a line for each")
    return lambda P, prior: np.clip(prevalence, MIN_PREVALENCE, MAX_PREVALENCE)


def write_prevalence(file: Path, species: Sequence[str], prevalence: np.ndarray) -> None:
    """Write a table with columns species,prevalence that `--prior` can read."""
    with replacing(file) as temporary:
        table = pd.DataFrame({"species": list(species), "prevalence": prevalence})
        escape_formulas(table).to_csv(temporary, index=False, float_format="%.6g")
