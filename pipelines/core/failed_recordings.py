"""`failed_recordings.csv`: the recordings that could not be read."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from features.common.files import replacing
from features.common.formulas import escape_formulas
from features.data.tables import read_table

FAILED = "failed_recordings.csv"
FAILED_COLUMNS = ("recording_id", "split", "reason")


def write_failed(results: Path, failed: Mapping[str, Mapping[str, str]]) -> None:
    """Write the list of failed recordings, or remove it if there are none.

    Parameters
    ----------
    results : folder of the list.
    failed : split -> recording id -> why the recording cannot be read.
    """
    rows = [(r, split, reason) for split, reasons in failed.items() for r, reason in reasons.items()]
    if not rows:
        (results / FAILED).unlink(missing_ok=True)
        return
    with replacing(results / FAILED) as temporary:
        table = pd.DataFrame(rows, columns=list(FAILED_COLUMNS))
        escape_formulas(table).to_csv(temporary, index=False)


def read_failed(results: Path) -> dict[str, list[str]]:
    """Return the ids of the failed recordings of the data set, by split, "train" and "test"."""
    failed: dict[str, list[str]] = {"train": [], "test": []}
    if (results / FAILED).exists():
        rows = read_table(results / FAILED, FAILED_COLUMNS)
        for split in failed:
            failed[split] = list(rows.loc[rows["split"] == split, "recording_id"])
    return failed


def print_failed(results: Path) -> None:
    """Print the number of failed recordings, if there are any."""
    file = results / FAILED
    n = len(read_table(file, FAILED_COLUMNS)) if file.exists() else 0
    if n:
        print(f"{n} recordings could not be read and have no scores; see {file}")
