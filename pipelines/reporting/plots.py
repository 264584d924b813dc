"""Leaderboard and figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from features.common.files import replacing
from features.frames.spectral import SpectralSettings, mel_centres
from models.metrics import Evaluation
from models.scoring.blending import SPACES, STEPS, Blend

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator

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


def plot_reliability(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], split: str, file: Path
) -> None:
    """Draw how often what a model gives a probability comes true, a line per model.

    Parameters
    ----------
    curves : by model, what `metrics.reliability` returns.
    """
    figure, axis = plt.subplots(figsize=(4.6, 4.2))
    axis.plot([0, 1], [0, 1], color="#cccccc", lw=1)
    for model, (predicted, observed, count) in curves.items():
        axis.plot(predicted, observed, color=COLOURS[model], lw=1, label=model)
        axis.scatter(predicted, observed, s=6 + 60 * np.sqrt(count / count.max()), color=COLOURS[model])
    axis.set_xlabel("probability given (larger dots: more cells)")
    axis.set_ylabel(f"share that is present, {split}")
    axis.legend(frameon=False)
    _save(figure, file)


def plot_reasons(
    by_band: np.ndarray,
    species: Sequence[str],
    bands: np.ndarray,
    settings: SpectralSettings,
    file: Path,
) -> None:
    """Draw what decides on each species by frequency, and the species' own band.

    Parameters
    ----------
    by_band : (n_species, n_mels) shares.
    bands : (n_species, 2) Hz.
    """
    centres = mel_centres(settings)
    figure, axis = plt.subplots(figsize=(8, 1.6 + 0.22 * len(species)))
    axis.imshow(
        by_band, aspect="auto", cmap="Greens", vmax=np.quantile(by_band, 0.995), interpolation="nearest"
    )
    position = np.interp(bands, centres, np.arange(len(centres)))
    for row, (low, high) in enumerate(position):
        box = plt.Rectangle((low - 0.5, row - 0.45), high - low + 1, 0.9, fill=False, ec="#d95f0e", lw=1)
        axis.add_patch(box)
    _kilohertz(axis.xaxis, centres)
    axis.set_yticks(range(len(species)), species, fontsize=8)
    axis.set_xlabel("kHz")
    _save(figure, file)


def plot_example(
    levels: np.ndarray,
    settings: SpectralSettings,
    start: float,
    length: float,
    band: tuple[float, float],
    file: Path,
) -> None:
    """Draw a spectrogram with a window and a band in it.

    Parameters
    ----------
    levels : (n_frames, n_mels) dB above the background.
    start, length : of the window, seconds from the first frame.
    band : Hz.
    """
    centres = mel_centres(settings)
    seconds = len(levels) / settings.frame_rate
    figure, axis = plt.subplots(figsize=(7, 2.4))
    extent = (0, seconds, -0.5, len(centres) - 0.5)
    axis.imshow(levels.T, origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=40, extent=extent)
    low, high = np.interp(band, centres, np.arange(len(centres)))
    axis.add_patch(plt.Rectangle((start, low), length, high - low, fill=False, ec="#78c679", lw=2))
    _kilohertz(axis.yaxis, centres)
    axis.set_xlabel("s")
    axis.set_ylabel("kHz")
    _save(figure, file, dpi=90)


def plot_study(values: np.ndarray, file: Path) -> None:
    """Draw the score of each trial, (n_trials,) with nan for a pruned one, and the best so far."""
    number = np.arange(1, len(values) + 1)
    figure, axis = plt.subplots(figsize=(6, 2.6))
    axis.plot(number, np.fmax.accumulate(values), color=COLOURS["gbm"], lw=1, label="best so far")
    axis.plot(number, values, "o", color=COLOURS["gbm"], label="trial")
    pruned = np.isnan(values)
    if pruned.any():
        axis.plot(
            number[pruned], np.full(pruned.sum(), np.nanmin(values)), "x", color="#999999", label="pruned"
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")
    axis.set_ylabel("out-of-fold score")
    axis.legend(frameon=False, fontsize=8)
    _save(figure, file)


def _kilohertz(axis: Axis, centres: np.ndarray) -> None:
    shown = [f for f in (0.5, 1, 2, 4, 8, 16) if centres[0] / 1000 <= f <= centres[-1] / 1000]
    axis.set_ticks(
        np.interp(1000 * np.array(shown), centres, np.arange(len(centres))), [f"{f:g}" for f in shown]
    )


def _save(figure: plt.Figure, file: Path, dpi: int = 150) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        if not axis.images:  # over which lines would lie
            axis.grid(axis="x", color="#eeeeee")
        axis.set_axisbelow(True)
    figure.set_layout_engine("constrained")
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=dpi)
    plt.close(figure)
