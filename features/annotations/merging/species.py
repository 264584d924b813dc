"""Species of a data set and of an import."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from features.annotations.boxes import AnnotationError
from features.annotations.merging.tables import LABELS, SPECIES, TP, appended, read_or_empty
from features.data.dataset import load_dataset
from features.data.species import ambiguous_name, species_names

SCORE_TABLES = ("sample_submission.csv", LABELS, "test_labels.csv")


def existing_species(root: Path, *, follow_links: bool) -> list[str]:
    """Return the names of the species of a data set, in the order of their numbers; [] for a new data set."""
    if (root / SPECIES).exists():
        return species_names(root / SPECIES)
    return list(load_dataset(root, follow_links=follow_links).species) if (root / TP).exists() else []


def merged_species(root: Path, existing: Sequence[str], *, names: Sequence[str], numbered: Path) -> list[str]:
    """Return the names of all species: those of the data set, then the new ones in alphabetical order.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    existing : sequence of str
        What `existing_species` returned.
    names : sequence of str
        Names of the species of boxes and presence table.
    numbered : Path
        Table species_id,name that sets the numbers of new species; it does not have to exist.

    Raises
    ------
    AnnotationError
        The table does not contain a species or contradicts the data set, or a new species needs a column in
        another table of the data set.
    """
    order = sorted(set(names))
    if numbered.exists():
        listed = species_names(numbered)
        for name in sorted(set(names) - set(listed)):
            raise AnnotationError(
                f"{numbered}: missing species '{name}' of the boxes; add it, or correct the name"
            )
        for k, (name, known) in enumerate(zip(listed, existing, strict=False)):
            if name != known:
                raise AnnotationError(
                    f"{numbered}: species {k} is '{name}', but '{known}' in {root}; use the numbers of "
                    f"the data set, or remove the file"
                )
        order = listed
    new = [name for name in order if name not in existing]
    merged = [*existing, *new]
    wrong = ambiguous_name(merged)
    if wrong:
        raise AnnotationError(f"{wrong}; rename it in the boxes, or number the species in {numbered}")
    tables = [table for table in SCORE_TABLES if (root / table).exists()]
    if new and existing and tables:
        columns = ", ".join(f"s{k}" for k in range(len(existing), len(merged)))
        raise AnnotationError(
            f"{root}: new species {', '.join(new)}, but {', '.join(tables)} has columns for {len(existing)} "
            f"species; add {columns} to each of these tables and the names to {SPECIES}, or import into a "
            f"new data set"
        )
    return merged


def species_table(root: Path, species: Sequence[str], n_existing: int) -> pd.DataFrame | None:
    """Return species.csv; None if the data set has these species already."""
    if n_existing == len(species):
        return None
    if not (root / SPECIES).exists():
        return pd.DataFrame({"species_id": range(len(species)), "name": species})
    new = {"species_id": [str(k) for k in range(n_existing, len(species))], "name": species[n_existing:]}
    return appended(read_or_empty(root / SPECIES, ("species_id", "name")), pd.DataFrame(new))
