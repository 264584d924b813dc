"""Complete labels of a data set and of an import."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from features.annotations.boxes import AnnotationError
from features.annotations.merging.tables import LABELS, appended, read_or_empty, rows
from features.data.tables import column_as_numbers, read_table, validate_unique


def label_table(
    root: Path, presence: Path, *, species: Sequence[str], recordings: Sequence[str], boxes: pd.DataFrame
) -> pd.DataFrame | None:
    """Return train_labels.csv with the rows of a presence table.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    presence : Path
        Table of recording_id and a column 0/1 per species name, in which a missing species is absent; it does
        not have to exist.
    species, recordings : sequence of str
        All species and training recordings after the import.
    boxes : pd.DataFrame
        New boxes, with the columns recording_id, species_id, verified, file and line.

    Raises
    ------
    AnnotationError
        A recording has no complete labels, or labels contradict those of the data set or a box.
    DatasetError
        The presence table is not valid.
    """
    columns = [f"s{k}" for k in range(len(species))]
    existing = read_or_empty(root / LABELS, ("recording_id", *columns))
    if existing.empty and not presence.exists():
        return None
    new = _presence(presence, species) if presence.exists() else existing.iloc[:0]
    known = existing.set_index("recording_id")
    for row in rows(new[new["recording_id"].isin(known.index)]):
        for column, name in zip(columns, species, strict=True):
            if float(known[column][row.recording_id]) != float(getattr(row, column)):
                raise AnnotationError(
                    f"{presence} line {row.Index}: label of '{name}' in '{row.recording_id}' differs from "
                    f"{root / LABELS}; correct one of the two"
                )
    new = new[~new["recording_id"].isin(known.index)]
    merged = appended(existing, new)
    labels = merged.set_index("recording_id")
    missing = [recording_id for recording_id in recordings if recording_id not in labels.index]
    if missing:
        raise AnnotationError(
            f"{presence}: no row for {len(missing)} recordings (first: '{missing[0]}'), but {root / LABELS} "
            f"needs complete labels of all recordings; add the rows"
        )
    for box in rows(boxes[boxes["verified"] == "yes"]):
        if float(labels[f"s{box.species_id}"][box.recording_id]) == 0:
            raise AnnotationError(
                f"{box.file} line {box.line}: box of '{species[box.species_id]}' in '{box.recording_id}', "
                f"but the complete labels say that it is absent; correct one of the two"
            )
    return merged if len(new) else None


def _presence(path: Path, species: Sequence[str]) -> pd.DataFrame:
    """Return a presence table with the columns recording_id, s0, s1, ..., as text."""
    table = read_table(path, ("recording_id",))
    validate_unique(table, "recording_id", path)
    labels = table[["recording_id"]].copy()
    for k, name in enumerate(species):
        values = column_as_numbers(table, name, path) if name in table else pd.Series(0.0, table.index)
        wrong = table[~values.isin((0, 1))]
        if len(wrong):
            raise AnnotationError(
                f"{path} line {wrong.index[0]}: {name} '{wrong[name].iloc[0]}' is not 0 or 1; correct it"
            )
        labels[f"s{k}"] = values.astype(int).astype(str)
    return labels
