"""`report.html`: what the models reached, why, and where they err, on one page that needs no network."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
import torch

from features.common.files import replacing
from features.common.parallel import in_parallel
from features.data.dataset import Dataset
from features.frames.frames import Frames, concatenate
from features.frames.spectral import compute_frames
from features.frames.store import FrameStore
from features.frames.windows import window_starts
from models.metrics import reliability
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detections import detect
from pipelines.core.detector import GBMWindows, Recogniser
from pipelines.core.failed_recordings import read_failed
from pipelines.core.runs import RunError, Scores
from pipelines.core.task import presence
from pipelines.reporting import explain as reasons
from pipelines.reporting import html as markup
from pipelines.reporting import plots as report

MODELS = ("gbm", "gru", "blend")
N_EXAMPLES = 3  # of each kind
AROUND = 2.0  # seconds shown on either side of a window
NOISE_MINUTES = 10
QUIET_SECONDS = 2.0  # of each training recording


class Run(NamedTuple):
    """A model's run, as its folder holds it."""

    config: dict[str, Any]
    metrics: dict[str, Any]
    oof: Scores
    test: Scores | None


class Example(NamedTuple):
    """A recording's best window for a species, and what the picture shows of it."""

    title: str
    frames: Frames
    start: float
    length: float
    band: tuple[float, float]
    why: list[tuple[str, float]]


def read_runs(results: Path) -> dict[str, Run]:
    """Return the runs that a results folder holds, by model."""
    runs = {}
    for model in MODELS:
        folder = results / model
        if (folder / "oof.npz").exists():
            config, metrics = (
                json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("config", "metrics")
            )
            test = Scores.load(folder / "test.npz") if (folder / "test.npz").exists() else None
            runs[model] = Run(config, metrics, Scores.load(folder / "oof.npz"), test)
    if not runs:
        raise RunError(f"{results}: holds no run; call pipelines/gbm.py or gru.py first")
    return runs


def gbm_of(results: Path) -> GBMWindows:
    windows = Recogniser.load(results / "gbm").members[0].windows
    assert isinstance(windows, GBMWindows)  # of a folder of this name
    return windows


def truth_of(dataset: Dataset) -> tuple[str, np.ndarray]:
    """Return the split that pictures are drawn from, test where its truth is known, and its (R, S) truth."""
    if dataset.test_labels is not None:
        return "test", dataset.test_labels.astype(float)
    return "train", np.nan_to_num(presence(dataset))


def noises(store: FrameStore, dataset: Dataset, seed: int) -> dict[str, list[Frames]]:
    """Return minutes of silence, of white noise and of the training recordings' quietest moments."""
    rng, settings = np.random.default_rng(seed), store.settings
    n = 60 * settings.sr
    silence = Frames.of(*compute_frames([np.zeros(n, np.float32)], settings.sr, settings))
    white = [
        Frames.of(*compute_frames([0.1 * rng.standard_normal(n, np.float32)], settings.sr, settings))
        for _ in range(NOISE_MINUTES)
    ]
    length = round(QUIET_SECONDS * settings.frame_rate)
    quiet = []
    for recording_id in rng.permutation(list(dataset.train))[: round(NOISE_MINUTES * 60 / QUIET_SECONDS)]:
        frames = store.load(str(recording_id), "train")
        loudness = frames.levels.mean(axis=1)
        moving = np.convolve(loudness, np.ones(min(length, len(frames))), mode="valid")
        quiet.append(frames.excerpt(int(moving.argmin()), min(length, len(frames))))
    a_minute = round(60 / QUIET_SECONDS)
    minutes = [concatenate(quiet[first : first + a_minute]) for first in range(0, len(quiet), a_minute)]
    return {
        "silence": [silence] * NOISE_MINUTES,
        "white noise": white,
        "quietest moments of the training recordings": minutes,
    }


def false_alarms(recogniser: Recogniser, kinds: dict[str, list[Frames]], n_jobs: int) -> pd.DataFrame:
    """Return a row per kind of noise: minutes, detections per hour, and the species most often found."""
    threshold = recogniser.thresholds.precision[DEFAULT_PRECISION]
    rows = []
    for kind, parts in kinds.items():
        scored = list(in_parallel(recogniser.score_frames, [(frames,) for frames in parts], n_jobs))
        found = [d.species for one in scored for d in detect(one, threshold, recogniser.bands)]
        hours = sum(one.duration for one in scored) / 3600
        most = np.bincount(found, minlength=len(recogniser.species)) / hours
        below = np.stack([one.recording for one in scored]).max(axis=0) < threshold
        rows.append(
            {
                "ten minutes of": kind,
                "minutes": 60 * hours,
                "detections per hour": len(found) / hours,
                "species below their threshold": f"{below.sum()} of {len(below)}",
                "most often": ", ".join(
                    f"{recogniser.species[k]} {most[k]:.0f}"
                    for k in np.argsort(-most)[:N_EXAMPLES]
                    if most[k]
                )
                or "none",
            }
        )
    return pd.DataFrame(rows)


def examples(
    recogniser: Recogniser,
    gbm: GBMWindows | None,
    store: FrameStore,
    recordings: Sequence[str],
    split: str,
    P: np.ndarray,
    Y: np.ndarray,
) -> dict[str, list[Example]]:
    """Return the surest detections that are right, the surest that are wrong, and the species most missed.

    One for each species at most, so that they show several.

    Parameters
    ----------
    P, Y : (n_recordings, n_species) scores and truth of the recordings.
    """
    absent = "wrong, as far as is known" if split == "train" else "wrong"
    kinds = {
        "Surest and right": ("right", np.where(Y == 1, -P, np.inf)),
        "Surest and wrong": (absent, np.where(Y == 0, -P, np.inf)),
        "Missed most": ("missed", np.where(Y == 1, P, np.inf)),
    }
    found: dict[str, list[Example]] = {}
    for heading, (verdict, order) in kinds.items():
        found[heading] = []
        shown: set[int] = set()
        for cell in np.argsort(order, axis=None):
            row, species = map(int, np.unravel_index(cell, order.shape))
            if not np.isfinite(order[row, species]) or len(shown) == N_EXAMPLES:
                break
            if species in shown:
                continue
            shown.add(species)
            title = f"{recogniser.species[species]} in {recordings[row]}: {P[row, species]:.2f}, {verdict}"
            frames = store.load(recordings[row], split)
            found[heading].append(_example(recogniser, gbm, frames, species, title))
    return found


def _example(
    recogniser: Recogniser, gbm: GBMWindows | None, frames: Frames, species: int, title: str
) -> Example:
    scored, rate = recogniser.score_frames(frames), recogniser.settings.frame_rate
    best = int(scored.windows[:, species].argmax())
    why = []
    if gbm is not None:
        length, hop = recogniser.window.in_frames(rate)
        starts = window_starts(len(frames), length, hop)[[best]]
        x = gbm.descriptor.describe(frames, starts, length)[0]
        why = reasons.of_window(gbm, x, species, recogniser.species)
    n_frames = min(round((scored.length + 2 * AROUND) * rate), len(frames))
    begin = min(max(round((scored.start[best] - AROUND) * rate), 0), len(frames) - n_frames)
    low, high = recogniser.bands[species]
    start = float(scored.start[best]) - begin / rate
    return Example(title, frames.excerpt(begin, n_frames), start, scored.length, (low, high), why)


def write_page(results: Path, dataset: Dataset, seed: int, n_jobs: int) -> Path:
    """Write `report.html` and the figures that are in it; return its path."""
    torch.set_num_threads(1)  # the parallel work is outside
    runs = read_runs(results)
    best = list(runs)[-1]
    recogniser = Recogniser.load(results / best)
    gbm = gbm_of(results) if "gbm" in runs else None
    store = FrameStore(results / "frames", recogniser.settings)
    for name, of_split in (("train", dataset.train), ("test", dataset.test)):
        store.compute(of_split, name, n_jobs, strict=True)  # where they were cleared away
    figures = results / "figures"
    leaderboard = pd.read_csv(results / "leaderboard.csv")
    split, truth = truth_of(dataset)
    scores = {model: (one.oof if split == "train" else one.test) for model, one in runs.items()}
    P = {model: found.scores for model, found in scores.items() if found is not None}

    report.plot_leaderboard(leaderboard, figures / "leaderboard.png")
    curves = {model: reliability(truth, p) for model, p in P.items()}
    report.plot_reliability(curves, "oof" if split == "train" else split, figures / "reliability.png")

    def pictures(*names: str) -> str:
        return "".join(
            markup.image(figures / f"{name}.png") for name in names if (figures / f"{name}.png").exists()
        )

    parts = [
        markup.section("Leaderboard", _leaderboard(leaderboard, dataset, runs), pictures("leaderboard")),
        markup.section("Species", _species_table(dataset, runs, recogniser, gbm)),
        markup.section("Are the probabilities true?", _calibration(runs), pictures("reliability")),
    ]
    if gbm is not None:
        report.plot_reasons(
            reasons.importance_by_band(gbm),
            recogniser.species,
            recogniser.bands,
            recogniser.settings,
            figures / "reasons.png",
        )
        parts.append(markup.section("What decides", WHAT_DECIDES, pictures("reasons")))
    recordings = list(dataset.test if split == "test" else dataset.train)
    found = examples(recogniser, gbm, store, recordings, split, P[best], truth)
    parts += [
        markup.section(heading, *[_example_html(example, recogniser, figures) for example in shown])
        for heading, shown in found.items()
    ]
    alarms = false_alarms(recogniser, noises(store, dataset, seed), n_jobs)
    parts.append(
        markup.section(
            "Where nothing calls", FALSE_ALARMS.format(best, DEFAULT_PRECISION), markup.table(alarms)
        )
    )
    if "gbm" in runs:
        values = study_values(results / "optuna.db", runs["gbm"].config["study"])
        report.plot_study(values, figures / "study.png")
        parts.append(markup.section("The study", pictures("study")))
    if "blend" in runs:
        parts.append(markup.section("The blend", pictures("weights", "species")))
    parts.append(markup.section("Settings", _settings(runs)))
    n_failed = sum(map(len, read_failed(results).values()))
    lead = (
        f"{len(dataset.train)} training and {len(dataset.test)} test recordings, {dataset.n_species} "
        f"species, {len(dataset.tp)} TP and {len(dataset.fp)} FP boxes; {n_failed} recordings could not be "
        f"decoded."
    )
    with replacing(results / "report.html") as temporary:
        temporary.write_text(markup.whole(dataset.name, lead, parts), encoding="utf-8")
    return results / "report.html"


def study_values(database: Path, name: str) -> np.ndarray:
    """Return the (n_trials,) out-of-fold score of each finished trial, nan for a pruned one."""
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{database}")
    trials = [t for t in study.trials if t.state.is_finished() and t.state.name != "FAIL"]
    return np.array([t.value if t.state.name == "COMPLETE" else np.nan for t in trials], float)


def _leaderboard(leaderboard: pd.DataFrame, dataset: Dataset, runs: dict[str, Run]) -> str:
    table = leaderboard.copy()
    interval = [
        f"{low:.3f} to {high:.3f}" for low, high in zip(table["lrap_low"], table["lrap_high"], strict=True)
    ]
    table.insert(4, "95 % interval", interval)
    table = table.drop(columns=["lrap_low", "lrap_high"]).rename(
        columns={"n_recordings": "recordings", "lrap": "LRAP", "lwlrap": "LWLRAP"}
    )
    source = runs["blend"].config["prior_from"] if "blend" in runs else "none"
    prior = "" if source == "none" else PRIOR_FROM.get(source, PRIOR_FROM["table"].format(escape(source)))
    partial = "" if dataset.train_labels is not None else PARTIAL
    return markup.table(table) + f"<p>{LEADERBOARD}{prior}{partial}</p>"


def _species_table(
    dataset: Dataset, runs: dict[str, Run], recogniser: Recogniser, gbm: GBMWindows | None
) -> str:
    table = pd.DataFrame({"species": dataset.species})
    for name, boxes in (("TP", dataset.tp), ("FP", dataset.fp)):
        table[name] = np.bincount(boxes["species_id"], minlength=dataset.n_species)
    for split in ("oof", "test"):
        for model, one in runs.items():
            values = [row.get(f"{split}_ap") for row in one.metrics["per_species"]]
            if any(value is not None for value in values):
                table[f"{model} AP, {split}"] = np.array(values, float)
    table["threshold"] = recogniser.thresholds.precision[DEFAULT_PRECISION]
    if gbm is not None:
        table["decides most"] = [
            "; ".join(name for name, _ in found) or "-" for found in reasons.of_species(gbm, dataset.species)
        ]
    return markup.table(table, sortable=True) + f"<p>{SPECIES.format(DEFAULT_PRECISION)}</p>"


def _calibration(runs: dict[str, Run]) -> str:
    rows = []
    for model, one in runs.items():
        for split, found in one.metrics["calibration"].items():
            row: dict[str, Any] = {"model": model, "split": split}
            for measure, name in (("brier", "Brier score"), ("log_loss", "log loss"), ("ece", "ECE")):
                for when in ("uncalibrated", "calibrated"):
                    value = found[when][measure]
                    row[f"{name}, {when}"] = float("nan") if value is None else value
            rows.append(row)
    return markup.table(pd.DataFrame(rows)) + f"<p>{CALIBRATION}</p>"


def _example_html(example: Example, recogniser: Recogniser, figures: Path) -> str:
    file = figures / "example.png"
    report.plot_example(
        example.frames.levels, recogniser.settings, example.start, example.length, example.band, file
    )
    image = markup.image(file)
    file.unlink()
    why = ", ".join(f"{escape(name)} ({value:+.2f})" for name, value in example.why)
    because = f"<br>The GBM's reasons, in log odds: {why}" if why else ""
    return f"<figure>{image}<figcaption>{escape(example.title)}{because}</figcaption></figure>"


def _settings(runs: dict[str, Run]) -> str:
    left_out = ("features", "thresholds", "species", "bands", "calibration", "fold_blends")
    parts = []
    for model, one in runs.items():
        config = {key: value for key, value in one.config.items() if key not in left_out}
        text = escape(json.dumps(config, indent=1))
        parts.append(f"<details><summary>{model}</summary><pre>{text}</pre></details>")
    return "".join(parts)


LEADERBOARD = (
    "<b>oof</b>: each training recording scored by models that never saw its fold. <b>prior</b> ranks by "
    "the training counts alone, <b>background</b> by each recording's median spectrum alone: what a model "
    "has above them it learned from calls. Seconds are those of fitting and scoring."
)
PRIOR_FROM = {
    "estimate": " <b>blend+prior</b> is the blend at the prevalence that the test recordings' own scores "
    "tell.",
    "table": " <b>blend+prior</b> is the blend at the prevalence that {0} tells.",
}
PARTIAL = " In oof, species that nobody annotated count as absent: a pessimistic view."
SPECIES = (
    "AP is average precision over recordings. A species counts as found from its threshold on, which gave a "
    "precision of {0:g} out of fold, or lies above every recording that lacks the species where none did. "
    "Click a column's head to sort."
)
CALIBRATION = (
    "Brier score, log loss and expected calibration error (over species with five or more positives): 0 is "
    "best. Calibrated probabilities are those of a world where each species is as frequent as all are in "
    "training; where a test set's prevalence differs, they are off by as much."
)
WHAT_DECIDES = (
    "<p>What decides on each species by frequency, from the GBM's columns that tell of one band: half the "
    "trees' share of gain, half the linear part's share of squared standardised coefficients. The box "
    "is the species' own band, the median of its TP boxes. Weight far outside the box says that the model "
    "leans on what else sounds where the species lives.</p>"
)
FALSE_ALARMS = (
    "<p>What the {0} finds, at the thresholds of precision {1:g}, where nothing is to be found. The training "
    "recordings' quietest moments may still hold a far call.</p>"
)
