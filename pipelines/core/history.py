"""`history.csv`: LRAP, and average precision per species, of all runs that a results folder has had."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from features.common.files import digest, replacing
from features.common.formulas import escape_formulas
from features.data.dataset import Dataset
from features.data.identity import data_identity
from features.data.tables import column_as_numbers, finite_numbers, read_table
from pipelines.core.leaderboard import SPLITS
from pipelines.core.run_config import BASELINE
from pipelines.core.runs import Run, read_runs

HISTORY = "history.csv"
COLUMNS = (
    *("written", "run", "model", "split", "recordings", "n_recordings", "n_boxes"),
    *("metric", "species", "value", "low", "high"),
)


def update_history(results: Path, dataset: Dataset) -> None:
    """Add the current runs to `history.csv`, except baselines and runs that it already has.

    A run has a row for its LRAP, with the 95 % interval, and one for the average precision of each species.
    `recordings` is a digest of the recordings that the metrics were computed on: rows can be compared if they
    have the same. `n_boxes` is the number of TP and FP boxes that the run was trained on.

    Raises
    ------
    DatasetError
        The file is not valid.
    """
    history = read_history(results)
    known = set(history["run"])
    rows = [
        row
        for run in read_runs(results, data_identity(dataset)).values()
        if run.kind != BASELINE and run.manifest.id not in known
        for row in _rows(run, dataset)
    ]
    if not rows:
        return
    parts = [part for part in (history, pd.DataFrame(rows, columns=COLUMNS)) if len(part)]
    with replacing(results / HISTORY) as temporary:
        escape_formulas(pd.concat(parts)).to_csv(temporary, index=False, float_format="%.6g")


def read_history(results: Path) -> pd.DataFrame:
    """Return the rows of `history.csv` in the order in which the runs were written; none without the file.

    Raises
    ------
    DatasetError
        The file is not valid.
    """
    file = results / HISTORY
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    table = read_table(file, COLUMNS)
    counts = {name: column_as_numbers(table, name, file) for name in ("n_recordings", "n_boxes")}
    values = {name: finite_numbers(table[name]) for name in ("value", "low", "high")}
    return table.assign(**counts, **values).reset_index(drop=True)


def scored_recordings(run: Run, dataset: Dataset, split: str) -> str:
    """Return a digest of the recordings that the metrics of a split were computed on."""
    if split == "test":
        identity = data_identity(dataset)
        return digest(identity["species"], identity["test recordings"], identity["test labels"])
    return digest(run.oof.species.tolist(), run.oof.recording_id[run.oof.holdout].tolist())


def _rows(run: Run, dataset: Dataset) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        if split not in run.metrics:
            continue
        found = run.metrics[split]
        common = {
            "written": run.manifest.written,
            "run": run.manifest.id,
            "model": run.name,
            "split": split,
            "recordings": scored_recordings(run, dataset, split),
            "n_recordings": found["n_recordings"],
            "n_boxes": len(dataset.tp) + len(dataset.fp),
        }
        yield {
            **common,
            "metric": "lrap",
            "species": "",
            "value": found["lrap"],
            "low": found["lrap_low"],
            "high": found["lrap_high"],
        }
        for row in run.metrics["per_species"]:
            if row[f"{split}_ap"] is not None:  # a species without positive recordings
                yield {**common, "metric": "ap", "species": row["name"], "value": row[f"{split}_ap"]}
