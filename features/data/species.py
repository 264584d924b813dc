"""Names and numbers of species."""

from collections.abc import Sequence
from pathlib import Path

from features.common.files import CONTROL
from features.data.tables import DatasetError, column_as_numbers, read_table, validate_rows, validate_unique

RESERVED_NAMES = ("recording_id", "site", "time", "t_min", "t_max")
"""Names that species must not have, because tables of scores have columns of these names."""


def species_names(path: Path) -> list[str]:
    """Return the names in a table with the columns species_id and name, in the order of species_id.

    Raises
    ------
    DatasetError
        As in `read_table`; also if the ids are not 0, 1, 2, ... without a gap, or if a name is empty,
        not unique or reserved, or has a control character.
    """
    table = read_table(path, ("species_id", "name"))
    ids = column_as_numbers(table, "species_id", path)
    if sorted(ids) != list(range(len(table))):
        raise DatasetError(
            f"{path}: species_id must be 0..{len(table) - 1}, once each "
            f"(found: {', '.join(table['species_id'][:30])}); renumber the species"
        )
    validate_rows(
        table, table["name"].str.strip() == "", path=path, message="species {species_id} has no name; add it"
    )
    is_control = table["name"].str.contains(CONTROL)
    validate_rows(
        table, is_control, path=path, message="species {species_id} has a control character; remove it"
    )
    validate_unique(table, "name", path)
    names = [str(name) for name in table.loc[ids.sort_values().index, "name"]]
    wrong = ambiguous_name(names)
    if wrong:
        raise DatasetError(f"{path}: {wrong}; rename it")
    return names


def ambiguous_name(names: Sequence[str]) -> str:
    """Return why a name is ambiguous, for the first such name; "" if there is none.

    Such a name is reserved, or is that of another species in tables of scores: s0, s1, ...

    Parameters
    ----------
    names : sequence of str
        Names in the order of the numbers of the species.

    Examples
    --------
    >>> ambiguous_name(["coqui", "s0"])
    "species 1 is named 's0', which stands for another species"
    """
    for k, name in enumerate(names):
        if name in RESERVED_NAMES:
            return f"species {k} is named '{name}', like a column of the scores of predict"
        if name in {f"s{other}" for other in range(len(names))} - {f"s{k}"}:
            return f"species {k} is named '{name}', which stands for another species"
    return ""


def species_numbers(species: Sequence[str]) -> dict[str, int]:
    """Return the number of each species by its name, and also by s0, s1, ... as in the score tables."""
    return {f"s{k}": k for k in range(len(species))} | {name: k for k, name in enumerate(species)}
