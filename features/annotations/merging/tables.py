"""Names of the tables of a data set that an import changes, and changing tables of text.

In this package, each function that returns a table returns the complete new one, in which the existing rows
come first and are unchanged, or None if nothing is new. Tables are text, as in `features.data.tables`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from features.data.tables import read_table

TP, FP = "train_tp.csv", "train_fp.csv"
SPECIES = "species.csv"
PRESENCE = "presence.csv"
LABELS = "train_labels.csv"
GROUPS = "groups.csv"
RECORDINGS = "recordings.csv"
REVIEWS = "reviews.csv"


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table, with its columns as attributes and the attribute Index."""
    yield from table.itertuples()


def read_or_empty(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a table as text, or an empty table with these columns if there is no file."""
    return read_table(path, columns) if path.exists() else pd.DataFrame(columns=columns, dtype=object)


def appended(table: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with new rows, in which missing columns are empty."""
    return pd.concat([table, new.reindex(columns=table.columns, fill_value="")], ignore_index=True)
