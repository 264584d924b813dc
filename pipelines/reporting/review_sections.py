"""Sections of the report about review: the history of the scores, and estimates from verdicts."""

from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.data.tables import finite_numbers, read_table
from pipelines.core.evaluation import compares_species
from pipelines.core.history import read_history, scored_recordings
from pipelines.reporting import html, plots, texts
from pipelines.reporting.contents import Contents

MAX_ROUNDS = 6  # columns of the table; the first one and the last ones are shown
ESTIMATE = ("density", "density_low", "density_high")


def history_section(contents: Contents) -> str:
    """Return the section with LRAP and average precision of successive runs, or "" if there is only one.

    Only runs whose metrics were computed on the same recordings are shown.
    """
    split = contents.split_name
    scored = scored_recordings(contents.runs[contents.best], contents.dataset, split)
    history = read_history(contents.results)
    own = history[
        (history["split"] == split)
        & (history["recordings"] == scored)
        & history["model"].isin(list(contents.runs))
    ]
    lrap = own[own["metric"] == "lrap"]
    n_rounds = lrap["model"].value_counts()
    if n_rounds.max() < 2 or not len(n_rounds):
        return ""
    image = ""
    if compares_species(contents.dataset):
        file = contents.figures / "history.png"
        plots.plot_history(lrap, split, colour=plots.colours(contents.runs), file=file)
        image = html.image(file)
    model = contents.best if n_rounds.get(contents.best, 0) > 1 else str(n_rounds.index[0])
    text = texts.HISTORY.format(plots.SPLITS[split], escape(model))
    table = _species_rounds(own[own["model"] == model])
    return html.section("History", f"<p>{text}</p>", image, html.table(table, sortable=True))


def _species_rounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the average precision of each species in the rounds of one model, and its change."""
    rounds = rows.loc[rows["metric"] == "lrap", ["run", "n_boxes"]].reset_index(drop=True)
    ap = rows[rows["metric"] == "ap"].pivot_table(index="species", columns="run", values="value")
    shown = rounds if len(rounds) <= MAX_ROUNDS else rounds.iloc[[0, *range(1 - MAX_ROUNDS, 0)]]
    table = pd.DataFrame({"species": ap.index})
    for k, run, n_boxes in shown.itertuples():
        table[f"round {k + 1}, {n_boxes:.0f} boxes"] = ap[run].to_numpy()
    first, last = table.iloc[:, 1], table.iloc[:, -1]
    return table.assign(change=last - first)


def estimates_section(folder: Path, figures: Path) -> str:
    """Return the section with call density by site and by hour, from the output of `review.py estimate`.

    Raises
    ------
    DatasetError
        A table is missing or not valid.
    """
    sites = _estimates(folder / "sites.csv", "site")
    images = []
    if (sites["site"] != "").any():
        plots.plot_density(sites, figures / "density.png")
        images.append(html.image(figures / "density.png"))
    if (folder / "hours.csv").exists():
        hours = _estimates(folder / "hours.csv", "hour")
        plots.plot_activity(hours.assign(hour=finite_numbers(hours["hour"])), figures / "activity.png")
        images.append(html.image(figures / "activity.png"))
    table = html.table(_species_estimates(folder / "species.csv"), sortable=True)
    return html.section("Review", f"<p>{texts.REVIEW}</p>", *images, table)


def _species_estimates(file: Path) -> pd.DataFrame:
    """Return the estimates of each species with their intervals, as text."""
    values = ("precision", "recall", "density")
    read = read_table(file, ("species", "verdicts", "confirmed", "threshold", *values))
    table = read[["species", "verdicts", "confirmed"]].assign(threshold=finite_numbers(read["threshold"]))
    for name in values:
        parts = [finite_numbers(read[column]) for column in (name, f"{name}_low", f"{name}_high")]
        table[name if name != "density" else "call density"] = [
            "-" if np.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"
            for value, low, high in zip(*parts, strict=True)
        ]
    return table


def _estimates(file: Path, part: str) -> pd.DataFrame:
    """Return the call density in each part, as numbers."""
    if not file.parent.is_dir():
        raise UserError(f"{file.parent}: no such folder; give the output of 'review.py estimate'")
    table = read_table(file, ("species", part, *ESTIMATE))
    return table.assign(**{name: finite_numbers(table[name]) for name in ESTIMATE})
