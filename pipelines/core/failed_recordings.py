"""The list of recordings that could not be decoded."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from features.common.files import replacing

FAILED = "failed_recordings.csv"
FAILED_COLUMNS = ["recording_id", "split", "reason"]


def write_failed(results: Path, failed: Mapping[str, Mapping[str, str]]) -> None:
    """List the recordings that cannot be decoded: by split, id -> reason. Without any there is no list."""
    rows = [(r, split, reason) for split, reasons in failed.items() for r, reason in reasons.items()]
    if not rows:
        (results / FAILED).unlink(missing_ok=True)
        return
    with replacing(results / FAILED) as temporary:
        pd.DataFrame(rows, columns=FAILED_COLUMNS).to_csv(temporary, index=False)


def read_failed(results: Path) -> dict[str, list[str]]:
    """Return by split the recordings that `write_failed` listed."""
    failed: dict[str, list[str]] = {"train": [], "test": []}
    if (results / FAILED).exists():
        rows = pd.read_csv(results / FAILED, dtype=str, keep_default_na=False)
        for split, of_split in rows.groupby("split"):
            failed[str(split)] = list(of_split["recording_id"])
    return failed


def print_failed(results: Path) -> None:
    """Print how many recordings have no scores, if any."""
    n = sum(map(len, read_failed(results).values()))
    if n:
        print(f"{n} recordings cannot be decoded and have no scores: {results / FAILED} says why")
