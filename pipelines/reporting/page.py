"""`report.html`: leaderboard, species, calibration, explanations, examples and errors on one page."""

import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.common.files import replacing
from features.data.dataset import Dataset
from features.frames.store import FrameStore
from models.metrics import MIN_POSITIVES, precision_and_recall, reliability
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detector import Detector
from pipelines.core.failed_recordings import read_failed
from pipelines.core.leaderboard import update_leaderboard
from pipelines.core.runs import BLEND
from pipelines.reporting import html, plots
from pipelines.reporting.contents import Contents, best_member, study_values
from pipelines.reporting.examples import Example, ScoredSplit, find_examples
from pipelines.reporting.explain import decisive_columns, importance_by_band
from pipelines.reporting.false_alarms import count_false_alarms, noise_recordings


def write_page(results: Path, dataset: Dataset, *, seed: int, n_jobs: int) -> Path:
    """Write `report.html` and its figures; return its path.

    Parameters
    ----------
    dataset : the data set, without recordings that cannot be decoded.
    seed : random seed of the noise that false alarms are counted in.
    n_jobs : number of cores to use.

    Raises
    ------
    RunError
        The results folder holds no trained model, or a run is not valid.
    """
    contents = Contents.of(results, dataset)
    store = FrameStore(results / "frames", contents.detector.settings)
    for split, recordings in (("train", dataset.train), ("test", dataset.test)):
        store.compute(recordings, split, n_jobs, strict=True)  # in case frames have been deleted
    parts = [
        *(section(contents) for section in SECTIONS),
        *_examples(contents, store),
        _false_alarms(contents, store, seed=seed, n_jobs=n_jobs),
        *_studies(contents),
        _blend(contents),
        _settings(contents),
    ]
    n_failed = sum(map(len, read_failed(results).values()))
    lead = (
        f"{len(dataset.train)} training and {len(dataset.test)} test recordings, {dataset.n_species} "
        f"species, {len(dataset.tp)} TP and {len(dataset.fp)} FP boxes; {n_failed} recordings could not be "
        f"decoded."
    )
    with replacing(results / "report.html") as temporary:
        temporary.write_text(
            html.page(dataset.name, lead, [part for part in parts if part]), encoding="utf-8"
        )
    return results / "report.html"


def _leaderboard(contents: Contents) -> str:
    leaderboard = update_leaderboard(contents.results)
    plots.plot_leaderboard(
        leaderboard, plots.colours(leaderboard["model"]), contents.figures / "leaderboard.png"
    )
    interval = [
        f"{low:.3f} to {high:.3f}"
        for low, high in zip(leaderboard["lrap_low"], leaderboard["lrap_high"], strict=True)
    ]
    table = leaderboard.copy()
    table.insert(4, "95 % interval", interval)
    table["seconds"] = [f"{seconds:.1f}" for seconds in table["seconds"]]
    table = table.drop(columns=["lrap_low", "lrap_high"]).rename(
        columns={"n_recordings": "recordings", "lrap": "LRAP", "lwlrap": "LWLRAP"}
    )
    sources = [run.config["prior_from"] for run in contents.runs.values() if run.kind == BLEND]
    source = sources[0] if sources else "none"
    prior = {"none": "", "estimate": PRIOR_ESTIMATED}.get(source, PRIOR_TABLE.format(escape(source)))
    partial = "" if contents.dataset.train_labels is not None else PARTIAL
    text = f"<p>{LEADERBOARD}{prior}{partial}</p>"
    return html.section("Leaderboard", html.table(table), text, _images(contents, "leaderboard"))


def _species(contents: Contents) -> str:
    dataset, thresholds = contents.dataset, contents.detector.thresholds
    table = pd.DataFrame({"species": dataset.species})
    for name, boxes in (("TP", dataset.tp), ("FP", dataset.fp)):
        table[name] = np.bincount(boxes["species_id"], minlength=dataset.n_species)
    table["positive recordings, oof"] = thresholds.n_positive
    if contents.split_name == "test":
        table["positive recordings, test"] = (contents.truth == 1).sum(axis=0)
    for split in ("oof", "test"):
        for name, run in contents.runs.items():
            values = [row.get(f"{split}_ap") for row in run.metrics["per_species"]]
            if any(value is not None for value in values):
                table[f"{name} AP, {split}"] = np.array(values, float)
    threshold = thresholds.at(precision=DEFAULT_PRECISION)
    table["threshold"] = [
        value if verifiable else f"{value:.3f} (not verifiable)"
        for value, verifiable in zip(threshold.tolist(), thresholds.verifiable, strict=True)
    ]
    achieved = precision_and_recall(contents.truth, contents.scores()[contents.best], threshold)
    for name, of_species in zip(("precision", "recall"), achieved, strict=True):
        table[f"{name}, {contents.split_name}"] = of_species
    for name, scorer in contents.explained.items():
        table[f"decisive columns, {name}"] = [
            "; ".join(decisive.column for decisive in found) or "-"
            for found in decisive_columns(scorer, dataset.species)
        ]
    text = f"<p>{SPECIES.format(escape(contents.best), DEFAULT_PRECISION, MIN_POSITIVES)}</p>"
    return html.section("Species", html.table(table, sortable=True), text)


def _calibration(contents: Contents) -> str:
    rows = []
    for name, run in contents.runs.items():
        for split, found in run.metrics.get("calibration", {}).items():
            row: dict[str, Any] = {"model": name, "split": split}
            for measure, words in (("brier", "Brier score"), ("log_loss", "log loss"), ("ece", "ECE")):
                for when in ("uncalibrated", "calibrated"):
                    value = found[when][measure]
                    row[f"{words}, {when}"] = float("nan") if value is None else value
            rows.append(row)
    curves = {name: reliability(contents.truth, P) for name, P in contents.scores().items()}
    file = contents.figures / "reliability.png"
    plots.plot_reliability(curves, contents.split_name, colour=plots.colours(contents.runs), file=file)
    text = f"<p>{CALIBRATION}</p>"
    return html.section("Calibration", html.table(pd.DataFrame(rows)), text, _images(contents, "reliability"))


def _importance(contents: Contents) -> str:
    parts = []
    for name, scorer in contents.explained.items():
        file = contents.figures / f"importance_{name}.png"
        detector = contents.detector
        plots.plot_importance(
            importance_by_band(scorer),
            detector.species,
            detector.bands,
            settings=detector.settings,
            file=file,
        )
        text = IMPORTANCE.format(escape(name), escape(scorer.importance_meaning))
        parts += [f"<p>{text}</p>", html.image(file)]
    return html.section("Decisive frequencies", *parts) if parts else ""


SECTIONS: tuple[Callable[[Contents], str], ...] = (_leaderboard, _species, _calibration, _importance)


def _examples(contents: Contents, store: FrameStore) -> list[str]:
    recordings = contents.dataset.test if contents.split == "test" else contents.dataset.train
    scores = contents.scores()[contents.best]
    split = ScoredSplit(contents.split, list(recordings), store, scores, contents.truth)
    name = max(contents.explained, key=lambda name: contents.runs[name].metrics["oof"]["lrap"], default="")
    found = find_examples(contents.detector, contents.explained.get(name), split)
    return [
        html.section(heading, *[_example(contents, example, name) for example in shown])
        for heading, shown in found.items()
    ]


def _example(contents: Contents, example: Example, explained: str) -> str:
    file = contents.figures / "example.png"
    plots.plot_example(
        example.frames.levels,
        settings=contents.detector.settings,
        start=example.start,
        length=example.length,
        band=example.band,
        file=file,
    )
    image = html.image(file)
    file.unlink()
    columns = ", ".join(f"{escape(found.column)} ({found.value:+.2f})" for found in example.decisive)
    reason = f"<br>Decisive columns of {escape(explained)}, log odds added: {columns}" if columns else ""
    return f"<figure>{image}<figcaption>{escape(example.title)}{reason}</figcaption></figure>"


def _false_alarms(contents: Contents, store: FrameStore, *, seed: int, n_jobs: int) -> str:
    # External scores for noise are unknown, so false alarms are not counted for a blend with such scores.
    external = contents.detector.external_members
    name = best_member(contents.runs) if external else contents.best
    detector = Detector.load(contents.results / name)
    noises = noise_recordings(store, contents.dataset, seed)
    text = FALSE_ALARMS.format(escape(name), DEFAULT_PRECISION)
    return html.section(
        "False alarms", f"<p>{text}</p>", html.table(count_false_alarms(detector, noises, n_jobs))
    )


def _studies(contents: Contents) -> list[str]:
    sections = []
    for name, run in contents.runs.items():
        if "study" in run.config:
            values = study_values(contents.results / "optuna.db", run.config["study"])
            if values is None:
                continue
            plots.plot_study(values, contents.figures / f"study_{name}.png")
            sections.append(html.section(f"Study of {name}", _images(contents, f"study_{name}")))
    return sections


def _blend(contents: Contents) -> str:
    if not any(run.kind == BLEND for run in contents.runs.values()):
        return ""
    return html.section("Blend", f"<p>{BLEND_TEXT}</p>", _images(contents, "weights", "species"))


def _settings(contents: Contents) -> str:
    left_out = ("columns", "thresholds", "species", "bands", "calibration", "fold_blends")
    parts = []
    for name, run in contents.runs.items():
        config = {key: value for key, value in run.config.items() if key not in left_out}
        text = escape(json.dumps(config, indent=1))
        parts.append(f"<details><summary>{escape(name)}</summary><pre>{text}</pre></details>")
    return html.section("Settings", *parts)


def _images(contents: Contents, *names: str) -> str:
    files = [contents.figures / f"{name}.png" for name in names]
    return "".join(html.image(file) for file in files if file.exists())


LEADERBOARD = (
    "The precision of a present species is the share of present species among all that score at least as "
    "high. LRAP is the mean precision of the present species of a recording, and then the mean over "
    "recordings; 1 is best. <b>oof</b> (out of fold): each training recording is scored by models that were "
    "fitted without its fold. <b>prior</b> scores each species by its share of training recordings, "
    "<b>background</b> by the median spectrum of the recording. These two do not use calls, so a model with "
    "a higher LRAP than both has learned from calls. Seconds are the time of fitting and scoring."
)
PRIOR_ESTIMATED = (
    " <b>blend+prior</b> is the blend, corrected for the prevalence that is estimated from the scores of the "
    "test recordings."
)
PRIOR_TABLE = " <b>blend+prior</b> is the blend, corrected for the prevalence in {0}."
PARTIAL = " In oof, a species without a box in a recording counts as absent, so LRAP is pessimistic."
SPECIES = (
    "AP is the average precision over recordings. A species is reported in a recording if its score reaches "
    "its threshold. The thresholds are those of {0} for a precision of {1:g} on the out-of-fold scores. If "
    "no threshold gives this precision, the threshold is just above the scores of all recordings without "
    "the species. The columns precision and recall show what the thresholds achieve. A threshold is <b>not "
    "verifiable</b> if fewer than {2} training recordings contain the species. It is then set on the scores "
    "of all species together. Click a column heading to sort."
)
CALIBRATION = (
    "Brier score, log loss and expected calibration error (ECE, over species with at least five "
    "positives); 0 is best. Calibrated probabilities assume that every species has the mean prevalence of "
    "the training recordings. If the prevalence among the test recordings differs, the probabilities "
    "are too high or too low."
)
IMPORTANCE = (
    "Importance of each frequency for each species, from the columns of {0} with a frequency extent. {1} "
    "The orange box is the band of the species, the median of its TP "
    "boxes. High importance far outside the box means that the model relies on other sounds of "
    "the same recording sites."
)
FALSE_ALARMS = (
    "Detections of {0} in recordings without calls, at the thresholds for a precision of {1:g}. The "
    "quietest moments of the training recordings may contain distant calls."
)
BLEND_TEXT = (
    "Weights of the members. The weights for new recordings are fitted on the out-of-fold scores of all "
    "folds. The weights for the scores of a fold are fitted on the other folds."
)
