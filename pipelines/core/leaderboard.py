"""`leaderboard.csv`, derived from the runs of a results folder."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from features.common.files import replacing
from features.common.formulas import escape_formulas
from models.metrics import Evaluation
from pipelines.core.runs import LEADERBOARD, Run, read_runs

SPLITS = ("oof", "test")
WITH_PRIOR = "with_prior"
"""Key in the metrics.json of a blend: evaluation of the scores that are corrected with `--prior`."""
METRIC_COLUMNS = [field.name for field in fields(Evaluation)]
LEADERBOARD_COLUMNS = ["model", "split", *METRIC_COLUMNS, "seconds"]


def update_leaderboard(results: Path, data: Mapping[str, str]) -> pd.DataFrame:
    """Write `leaderboard.csv` from the runs of the data with the identity `data` and return it.

    Rows are sorted by split, and in a split in the order of `read_runs`.
    """
    runs = read_runs(results, data).values()
    rows = [row for split in SPLITS for run in runs for row in _rows(run, split)]
    leaderboard = pd.DataFrame(rows, columns=LEADERBOARD_COLUMNS)
    with replacing(results / LEADERBOARD) as temporary:
        escape_formulas(leaderboard).to_csv(temporary, index=False, float_format="%.6g")
    return leaderboard


def _rows(run: Run, split: str) -> list[dict[str, Any]]:
    seconds = run.metrics["seconds"]
    rows = []
    if split in run.metrics:
        rows.append({"model": run.name, "split": split, **run.metrics[split], "seconds": seconds[split]})
    adjusted = run.metrics.get(WITH_PRIOR, {})
    if split in adjusted:
        name = f"{run.name}+prior"
        rows.append({"model": name, "split": split, **adjusted[split], "seconds": seconds[WITH_PRIOR]})
    return [{**row, "seconds": round(row["seconds"], 1)} for row in rows]


def print_leaderboard(leaderboard: pd.DataFrame, results: Path) -> None:
    """Print the leaderboard, and the path of its file."""
    print(f"\n{results / 'leaderboard.csv'}")
    print(leaderboard.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
