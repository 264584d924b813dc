"""Figures of the leaderboard, the blend and the report, as PNG files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from features.common.files import replacing
from features.data.box import Box
from features.frames.spectral import SpectralSettings, mel_centres
from models.scoring.blending import Blend

# Figures are drawn without pyplot, which would choose a backend for the whole process. Names of species may
# contain "$", which does not stand for a formula.
rcParams["text.parse_math"] = False
SPLITS = {"oof": "out of fold", "test": "test"}
"""Names of the splits in words."""
FIXED_COLOURS = {"prior": "#999999", "background": "#b8860b", "blend": "#238b45", "blend+prior": "#78c679"}
MEMBER_COLOURS = ("#2c7fb8", "#d95f0e", "#756bb1", "#c51b8a", "#00868b", "#8c510a", "#525252", "#e6ab02")


def colours(models: Iterable[str]) -> dict[str, str]:
    """Return the colour of each model: fixed for baselines and blend, by alphabetical order for members."""
    members = sorted(set(models) - set(FIXED_COLOURS))
    in_turn = {name: MEMBER_COLOURS[k % len(MEMBER_COLOURS)] for k, name in enumerate(members)}
    return {**FIXED_COLOURS, **in_turn}


def plot_leaderboard(rows: pd.DataFrame, colour: Mapping[str, str], file: Path) -> None:
    """Plot LRAP with its 95 % interval, one panel per split.

    Parameters
    ----------
    rows : the leaderboard.
    colour : colour of each model.
    """
    splits = [split for split in SPLITS if (rows["split"] == split).any()]
    n_models = rows["split"].value_counts().max()
    figure = Figure(figsize=(4.6 * len(splits), 1 + 0.3 * n_models))
    axes = figure.subplots(1, len(splits), sharex=True, squeeze=False)
    for axis, split in zip(axes[0], splits, strict=True):
        part = rows[rows["split"] == split].iloc[::-1]
        for y, row in enumerate(part.itertuples()):
            axis.plot([row.lrap_low, row.lrap_high], [y, y], color=colour[str(row.model)], lw=2)
            axis.plot(row.lrap, y, "o", color=colour[str(row.model)])
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
        axis.set_title(f"{SPLITS[split]}, {part['n_recordings'].iloc[0]} recordings", fontsize=10)
        axis.set_xlabel("LRAP (95 % bootstrap interval)")
    _save(figure, file)


def plot_species(ap: pd.DataFrame, split: str, *, colour: Mapping[str, str], file: Path) -> None:
    """Plot the average precision of each species, one dot per model.

    Parameters
    ----------
    ap : (n_species, n_models) with species names as index; species are sorted by the column "blend".
    split : name of the split.
    colour : colour of each model.
    """
    ap = ap.dropna().sort_values("blend")
    figure = Figure(figsize=(6.4, 1.4 + 0.21 * len(ap)))
    axis = figure.subplots()
    rows = np.arange(len(ap))
    axis.hlines(rows, ap.min(axis=1), ap.max(axis=1), color="#cccccc", lw=2, zorder=1)
    for model in ap.columns:
        axis.scatter(ap[model], rows, color=colour[model], label=model, s=22, zorder=2)
    axis.set_yticks(rows, ap.index, fontsize=8)
    axis.set_ylim(-1, len(ap))
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel(f"average precision, {SPLITS[split]}")
    figure.legend(ncols=min(len(ap.columns), 4), loc="outside upper center", frameon=False)
    _save(figure, file)


def plot_weights(
    blend: Blend,
    fold_blends: Sequence[Blend],
    members: Sequence[str],
    *,
    colour: Mapping[str, str],
    file: Path,
) -> None:
    """Plot the weights of the members, for new recordings and for each fold.

    Parameters
    ----------
    blend : the blend for new recordings.
    fold_blends : the blend of each fold, fitted on the other folds.
    members : names, in the order of the weights.
    colour : colour of each member.
    """
    rows = {"new recordings": blend, **{f"fold {k}": other for k, other in enumerate(fold_blends)}}
    figure = Figure(figsize=(6.4, 1.3 + 0.32 * len(rows)))
    axis = figure.subplots()
    for y, one in enumerate(rows.values()):
        left = 0.0
        for name, weight in zip(members, one.weights, strict=True):
            axis.barh(y, weight, left=left, color=colour[name], height=0.7)
            if weight >= 0.08:  # a narrower bar has no room for its number
                position = (left + weight / 2, y)
                axis.annotate(f"{weight:.2f}", position, ha="center", va="center", color="white", fontsize=8)
            left += weight
        axis.annotate(one.space, (1.02, y), va="center", fontsize=8, annotation_clip=False)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("weight in the blend; right: space in which scores are averaged")
    handles = [Rectangle((0, 0), 1, 1, color=colour[name]) for name in members]
    figure.legend(handles, members, ncols=min(len(members), 4), loc="outside upper center", frameon=False)
    _save(figure, file)


def plot_reliability(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    split: str,
    *,
    colour: Mapping[str, str],
    file: Path,
) -> None:
    """Plot the reliability diagram: observed share over predicted probability, one line per model.

    Parameters
    ----------
    curves : name of a model -> result of `models.metrics.reliability`.
    split : name of the split.
    colour : colour of each model.
    """
    figure = Figure(figsize=(4.6, 4.2))
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#cccccc", lw=1)
    for model, (predicted, observed, count) in curves.items():
        axis.plot(predicted, observed, color=colour[model], lw=1, label=model)
        axis.scatter(predicted, observed, s=6 + 60 * np.sqrt(count / count.max()), color=colour[model])
    axis.set_xlabel("predicted probability (larger dots: more scores)")
    axis.set_ylabel(f"observed share of present species, {SPLITS[split]}")
    axis.legend(frameon=False)
    _save(figure, file)


def plot_importance(
    by_band: np.ndarray,
    species: Sequence[str],
    bands: np.ndarray,
    *,
    settings: SpectralSettings,
    file: Path,
) -> None:
    """Plot the importance of each frequency for each species, and the band of the species' boxes.

    Parameters
    ----------
    by_band : (n_species, n_mels) importance, each row sums to 1.
    species : names.
    bands : (n_species, 2) Hz.
    """
    centres = mel_centres(settings)
    figure = Figure(figsize=(8, 1.6 + 0.22 * len(species)))
    axis = figure.subplots()
    axis.imshow(
        by_band, aspect="auto", cmap="Greens", vmax=np.quantile(by_band, 0.995), interpolation="nearest"
    )
    position = np.interp(bands, centres, np.arange(len(centres)))
    for row, (low, high) in enumerate(position):
        box = Rectangle((low - 0.5, row - 0.45), high - low + 1, 0.9, fill=False, ec="#d95f0e", lw=1)
        axis.add_patch(box)
    _set_kilohertz(axis.xaxis, centres)
    axis.set_yticks(range(len(species)), species, fontsize=8)
    axis.set_xlabel("frequency, kHz")
    _save(figure, file)


def plot_example(
    levels: np.ndarray,
    *,
    settings: SpectralSettings,
    start: float,
    window: Box,
    calls: Iterable[Box],
    file: Path,
) -> None:
    """Plot an excerpt of a spectrogram with a window (solid) and boxed calls (dashed).

    Parameters
    ----------
    levels : (n_frames, n_mels) dB above the background.
    start : start of the excerpt in its recording, s.
    window : the window and the band of the species.
    calls : boxed calls; their parts outside the excerpt are not shown.
    """
    centres = mel_centres(settings)
    end = start + len(levels) / settings.frame_rate
    figure = Figure(figsize=(7, 2.4))
    axis: Axes = figure.subplots()
    extent = (start, end, -0.5, len(centres) - 0.5)
    axis.imshow(levels.T, origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=40, extent=extent)
    for box, colour, line in ((window, "#78c679", "-"), *((call, "white", "--") for call in calls)):
        low, high = np.interp((box.f_min, box.f_max), centres, np.arange(len(centres)))
        axis.add_patch(
            Rectangle(
                (box.t_min, low), box.t_max - box.t_min, high - low, fill=False, ec=colour, ls=line, lw=2
            )
        )
    axis.set_xlim(start, end)
    _set_kilohertz(axis.yaxis, centres)
    axis.set_xlabel("time in the recording, s")
    axis.set_ylabel("frequency, kHz")
    _save(figure, file, dpi=90)


def plot_study(values: np.ndarray, file: Path) -> None:
    """Plot the value of each trial and the best one so far.

    Parameters
    ----------
    values : (n_trials,) out-of-fold score, nan for a pruned trial.
    """
    number = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(6, 2.6))
    axis = figure.subplots()
    axis.plot(number, np.fmax.accumulate(values), color=MEMBER_COLOURS[0], lw=1, label="best so far")
    axis.plot(number, values, "o", color=MEMBER_COLOURS[0], label="trial")
    pruned = np.isnan(values)
    if pruned.any():
        lowest = np.full(pruned.sum(), np.nanmin(values))
        axis.plot(number[pruned], lowest, "x", color="#999999", label="pruned")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")
    axis.set_ylabel("out-of-fold score")
    axis.legend(frameon=False, fontsize=8)
    _save(figure, file)


def plot_history(rows: pd.DataFrame, split: str, *, colour: Mapping[str, str], file: Path) -> None:
    """Plot LRAP with its 95 % interval over the number of boxes, one line per model.

    Parameters
    ----------
    rows : model, n_boxes, value, low and high of each run, in the order in which they were written.
    split : name of the split.
    colour : colour of each model.
    """
    figure = Figure(figsize=(6.4, 3))
    axis = figure.subplots()
    for model, own in rows.groupby("model", sort=False):
        axis.plot(own["n_boxes"], own["value"], "o-", color=colour[str(model)], label=model, lw=1)
        axis.vlines(own["n_boxes"], own["low"], own["high"], color=colour[str(model)], lw=1, alpha=0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("TP and FP boxes in the training data")
    axis.set_ylabel(f"LRAP, {SPLITS[split]}")
    figure.legend(ncols=4, loc="outside upper center", frameon=False, fontsize=8)
    _save(figure, file)


def plot_density(rows: pd.DataFrame, file: Path) -> None:
    """Plot the call density at each site with its interval, one panel per species.

    Parameters
    ----------
    rows : species, site, density, density_low and density_high.
    """
    sites = sorted(rows["site"].unique())
    figure, panels = _panels(rows, 0.9 + 0.14 * max(map(len, sites)))
    for axis, own in panels:
        x = own["site"].map(sites.index)
        axis.vlines(x, own["density_low"], own["density_high"], color=MEMBER_COLOURS[0], lw=3, alpha=0.4)
        axis.plot(x, own["density"], "o", color=MEMBER_COLOURS[0], ms=4)
        axis.set_xticks(range(len(sites)), sites, rotation=90, fontsize=7)
        axis.set_xlim(-0.5, len(sites) - 0.5)
    figure.supylabel("call density (90 % interval)", fontsize=9)
    _save(figure, file)


def plot_activity(rows: pd.DataFrame, file: Path) -> None:
    """Plot the call density over the hours of the day with its interval, one panel per species.

    Parameters
    ----------
    rows : species, hour, density, density_low and density_high.
    """
    figure, panels = _panels(rows, 1.2)
    for axis, own in panels:
        by_hour = own.set_index("hour").reindex(range(24))  # hours without recordings interrupt the line
        axis.vlines(
            by_hour.index, by_hour["density_low"], by_hour["density_high"], color=MEMBER_COLOURS[0], alpha=0.4
        )
        axis.plot(by_hour.index, by_hour["density"], "o-", color=MEMBER_COLOURS[0], ms=3, lw=1)
        axis.set_xticks(range(0, 25, 6))
        axis.set_xlim(-0.5, 23.5)
    figure.supxlabel("hour of the day", fontsize=9)
    figure.supylabel("call density (90 % interval)", fontsize=9)
    _save(figure, file)


def _panels(rows: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return a figure, and an axis from 0 upwards and the rows of each species.

    Parameters
    ----------
    height : height of a panel, inches.
    """
    names = list(rows["species"].unique())
    n_columns = min(4, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = Figure(figsize=(2.3 * n_columns + 0.4, height * n_rows + 0.4))
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True).ravel()
    for axis in axes[len(names) :]:
        axis.remove()
    panels = []
    for axis, name in zip(axes[: len(names)], names, strict=True):
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=7)
        panels.append((axis, rows[rows["species"] == name]))
        axis.set_ylim(0, max(0.05, 1.05 * rows.loc[rows["species"] == name, "density_high"].max()))
    for axis in axes[max(len(names) - n_columns, 0) : len(names)]:
        axis.tick_params(labelbottom=True)
    return figure, panels


def _set_kilohertz(axis: Axis, centres: np.ndarray) -> None:
    shown = [f for f in (0.5, 1, 2, 4, 8, 16) if centres[0] / 1000 <= f <= centres[-1] / 1000]
    axis.set_ticks(
        np.interp(1000 * np.array(shown), centres, np.arange(len(centres))), [f"{f:g}" for f in shown]
    )


def _save(figure: Figure, file: Path, dpi: int = 150) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        if not axis.images:  # grid lines would cover an image
            axis.grid(axis="x", color="#eeeeee")
        axis.set_axisbelow(True)
    figure.set_layout_engine("constrained")
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=dpi)
