"""Leaderboard and figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from features.files import replacing
from models.blending import SPACES, STEPS, Blend
from models.metrics import Evaluation

mpl.use("Agg")
import matplotlib.pyplot as plt

MODELS = ("prior", "background", "gbm", "gru", "blend", "blend+prior")
SPLITS = ("oof", "test")
COLOURS = {
    "prior": "#999999",
    "background": "#b8860b",
    "gbm": "#2c7fb8",
    "gru": "#d95f0e",
    "blend": "#238b45",
    "blend+prior": "#78c679",
}
LEADERBOARD_COLUMNS = [
    *("model", "split", "n_recordings", "lrap", "lrap_low", "lrap_high"),
    *("lwlrap", "macro_auc", "macro_ap", "seconds"),
]


def update_leaderboard(
    results: Path,
    model: str,
    evaluations: Mapping[str, Evaluation],
    seconds: Mapping[str, float],
    outdated: Collection[str] = (),
) -> pd.DataFrame:
    """Put a model's rows in place of its earlier ones; return the whole leaderboard.

    Parameters
    ----------
    evaluations, seconds : by split; what is no split of the leaderboard is left out.
    outdated : models whose rows are taken off.
    """
    file = results / "leaderboard.csv"
    rows = pd.DataFrame(
        [
            {
                "model": model,
                "split": split,
                **asdict(evaluations[split]),
                "seconds": round(seconds[split], 1),
            }
            for split in SPLITS
            if split in evaluations
        ],
        columns=LEADERBOARD_COLUMNS,
    )
    if file.exists():
        earlier = pd.read_csv(file)
        rows = pd.concat([earlier[~earlier["model"].isin([model, *outdated])], rows])
    order = rows["split"].map(SPLITS.index) * len(MODELS) + rows["model"].map(MODELS.index)
    rows = rows.iloc[np.argsort(order.to_numpy(), kind="stable")]
    with replacing(file) as temporary:
        rows.to_csv(temporary, index=False, float_format="%.6g")
    return rows


def print_leaderboard(rows: pd.DataFrame, results: Path) -> None:
    print(f"\n{results / 'leaderboard.csv'}")
    print(rows.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))


def plot_leaderboard(rows: pd.DataFrame, file: Path) -> None:
    """Draw LRAP with its 95 % interval, a panel per split."""
    splits = [split for split in SPLITS if (rows["split"] == split).any()]
    figure, axes = plt.subplots(1, len(splits), figsize=(4.6 * len(splits), 2.8), sharex=True, squeeze=False)
    for axis, split in zip(axes[0], splits, strict=True):
        part = rows[rows["split"] == split].iloc[::-1]
        for y, row in enumerate(part.itertuples()):
            colour = COLOURS[str(row.model)]
            axis.plot([row.lrap_low, row.lrap_high], [y, y], color=colour, lw=2)
            axis.plot(row.lrap, y, "o", color=colour)
            axis.annotate(
                f"{row.lrap:.3f}",
                (row.lrap, y),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
                fontsize=8,
            )
        axis.set_yticks(range(len(part)), part["model"])
        axis.set_ylim(-0.6, len(part) - 0.3)
        axis.set_title(f"{split}, {part['n_recordings'].iloc[0]} recordings", fontsize=10)
        axis.set_xlabel("LRAP (95 % bootstrap interval)")
    _save(figure, file)


def plot_species(ap: pd.DataFrame, split: str, file: Path) -> None:
    """Draw the average precision of each species, a dot per model.

    Parameters
    ----------
    ap : index of species, a column per model.
    """
    ap = ap.dropna().sort_values("blend")
    figure, axis = plt.subplots(figsize=(6.4, 1.4 + 0.21 * len(ap)))
    rows = np.arange(len(ap))
    axis.hlines(rows, ap.min(axis=1), ap.max(axis=1), color="#cccccc", lw=2, zorder=1)
    for model in ap.columns:
        axis.scatter(ap[model], rows, color=COLOURS[model], label=model, s=22, zorder=2)
    axis.set_yticks(rows, ap.index, fontsize=8)
    axis.set_ylim(-1, len(ap))
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel(f"average precision, {split}")
    figure.legend(ncols=len(ap.columns), loc="outside upper center", frameon=False)
    _save(figure, file)


def plot_weights(
    scores: Mapping[Blend, float], chosen: Blend, fold_blends: list[Blend], members: Sequence[str], file: Path
) -> None:
    """Draw the out-of-fold score over the first member's weight, a line per space.

    Parameters
    ----------
    scores : the score on all folds of every candidate blend of two members.
    chosen : the blend that scores the test set.
    fold_blends : the blends that scored each fold, fitted on the others.
    """
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for space in SPACES:
        points = sorted((blend.weights[0], value) for blend, value in scores.items() if blend.space == space)
        axis.plot(*zip(*points, strict=True), label=space)
    for blends, style, label in (
        (fold_blends, "k|", "chosen for a fold"),
        ([chosen], "ko", "chosen for test"),
    ):
        axis.plot([b.weights[0] for b in blends], [scores[b] for b in blends], style, ms=7, label=label)
    axis.set_xticks(np.linspace(0, 1, STEPS // 4 + 1))
    axis.set_xlabel(f"weight of {members[0]}; the rest is {members[1]}'s")
    axis.set_ylabel("out-of-fold score")
    axis.legend(fontsize=8)
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color="#eeeeee")
        axis.set_axisbelow(True)
    figure.set_layout_engine("constrained")
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
