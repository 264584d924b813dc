"""`report.html`: leaderboard, species, calibration, explanations, examples and errors on one page."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sqlalchemy.exc import SQLAlchemyError

from features.common.files import replacing
from features.data.dataset import Dataset
from features.frames.store import FrameStore
from models.metrics import reliability
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detector import Detector
from pipelines.core.failed_recordings import read_failed
from pipelines.core.leaderboard import update_leaderboard
from pipelines.core.member import ColumnScorer
from pipelines.core.runs import (
    BASELINE,
    BLEND,
    MEMBER,
    Run,
    RunError,
    read_runs,
    validate_same_data,
    warn_left_out,
)
from pipelines.core.truth import training_truth
from pipelines.reporting import html, plots
from pipelines.reporting.examples import Example, ScoredSplit, find_examples
from pipelines.reporting.explain import decisive_columns, importance_by_band
from pipelines.reporting.false_alarms import count_false_alarms, noise_recordings


@dataclass(frozen=True)
class Reported:
    """Runs, scores and truth that the page shows.

    Attributes
    ----------
    results : results folder.
    dataset : the data set, without recordings that cannot be decoded.
    runs : runs of members and blend, by name.
    best : name of the run used for examples: the blend, or else the best member.
    detector : detector of the best run.
    explained : trained members that explain their scores, by name.
    split : "test" if its truth is known, else "train".
    truth : (n_recordings, n_species) truth of the split.
    """

    results: Path
    dataset: Dataset
    runs: Mapping[str, Run]
    best: str
    detector: Detector
    explained: Mapping[str, ColumnScorer]
    split: str
    truth: np.ndarray

    @classmethod
    def of(cls, results: Path, dataset: Dataset) -> "Reported":
        """Return the contents of the report for a results folder.

        Runs whose recordings or species differ from those of the data set are left out with a warning.

        Raises
        ------
        RunError
            The folder holds no trained model.
        """
        runs = {}
        for name, run in read_runs(results).items():
            try:
                validate_same_data(results / name, run, dataset)
            except RunError as error:
                warn_left_out(str(error))
            else:
                runs[name] = run
        runs = {name: run for name, run in runs.items() if run.kind != BASELINE}
        if not any(run.kind == MEMBER for run in runs.values()):
            raise RunError(
                f"{results}: no trained model to report on; train one, for example with 'make demo'"
            )
        best = best_run(runs)
        detector = Detector.load(results / best)
        explained: dict[str, ColumnScorer] = {}
        for member in detector.members:
            scorer = member.scorer
            if isinstance(scorer, ColumnScorer) and member.name in runs:
                explained[member.name] = scorer
        truth = training_truth(dataset)
        if dataset.test_labels is not None:
            truth = dataset.test_labels.astype(float)
        return cls(
            results=results,
            dataset=dataset,
            runs=runs,
            best=best,
            detector=detector,
            explained=explained,
            split="train" if dataset.test_labels is None else "test",
            truth=truth,
        )

    @property
    def split_name(self) -> str:
        """Name of the split on the leaderboard."""
        return "test" if self.split == "test" else "oof"

    def scores(self) -> dict[str, np.ndarray]:
        """Return the scores of the split, shape (n_recordings, n_species), by run."""
        found = {name: run.test if self.split == "test" else run.oof for name, run in self.runs.items()}
        return {name: scores.scores for name, scores in found.items() if scores is not None}

    @property
    def figures(self) -> Path:
        return self.results / "figures"


def best_run(runs: Mapping[str, Run]) -> str:
    """Return the name of the run to show: the blend, or else the best trained member.

    A blend that only gives weight to external scores has no model to show.
    """
    for name, run in runs.items():
        if run.kind == BLEND:
            weights = {member: entry["weight"] for member, entry in run.config["members"].items()}
            trained = [member for member in weights if member in runs and runs[member].kind == MEMBER]
            if any(weights[member] > 0 for member in trained):
                return name
    return best_member(runs)


def best_member(runs: Mapping[str, Run]) -> str:
    """Return the name of the trained member with the highest out-of-fold LRAP."""
    trained = [name for name, run in runs.items() if run.kind == MEMBER]
    return max(trained, key=lambda name: runs[name].metrics["oof"]["lrap"])


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
    reported = Reported.of(results, dataset)
    store = FrameStore(results / "frames", reported.detector.settings)
    for split, recordings in (("train", dataset.train), ("test", dataset.test)):
        store.compute(recordings, split, n_jobs, strict=True)  # in case frames have been deleted
    parts = [
        *(section(reported) for section in SECTIONS),
        *_examples(reported, store),
        _false_alarms(reported, store, seed=seed, n_jobs=n_jobs),
        *_studies(reported),
        _blend(reported),
        _settings(reported),
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


def _leaderboard(reported: Reported) -> str:
    leaderboard = update_leaderboard(reported.results)
    plots.plot_leaderboard(
        leaderboard, plots.colours(leaderboard["model"]), reported.figures / "leaderboard.png"
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
    sources = [run.config["prior_from"] for run in reported.runs.values() if run.kind == BLEND]
    source = sources[0] if sources else "none"
    prior = {"none": "", "estimate": PRIOR_ESTIMATED}.get(source, PRIOR_TABLE.format(escape(source)))
    partial = "" if reported.dataset.train_labels is not None else PARTIAL
    text = f"<p>{LEADERBOARD}{prior}{partial}</p>"
    return html.section("Leaderboard", html.table(table), text, _images(reported, "leaderboard"))


def _species(reported: Reported) -> str:
    dataset, detector = reported.dataset, reported.detector
    table = pd.DataFrame({"species": dataset.species})
    for name, boxes in (("TP", dataset.tp), ("FP", dataset.fp)):
        table[name] = np.bincount(boxes["species_id"], minlength=dataset.n_species)
    for split in ("oof", "test"):
        for name, run in reported.runs.items():
            values = [row.get(f"{split}_ap") for row in run.metrics["per_species"]]
            if any(value is not None for value in values):
                table[f"{name} AP, {split}"] = np.array(values, float)
    table["threshold"] = detector.thresholds.precision[DEFAULT_PRECISION]
    for name, scorer in reported.explained.items():
        table[f"decisive columns, {name}"] = [
            "; ".join(decisive.column for decisive in found) or "-"
            for found in decisive_columns(scorer, dataset.species)
        ]
    text = f"<p>{SPECIES.format(DEFAULT_PRECISION)}</p>"
    return html.section("Species", html.table(table, sortable=True), text)


def _calibration(reported: Reported) -> str:
    rows = []
    for name, run in reported.runs.items():
        for split, found in run.metrics.get("calibration", {}).items():
            row: dict[str, Any] = {"model": name, "split": split}
            for measure, words in (("brier", "Brier score"), ("log_loss", "log loss"), ("ece", "ECE")):
                for when in ("uncalibrated", "calibrated"):
                    value = found[when][measure]
                    row[f"{words}, {when}"] = float("nan") if value is None else value
            rows.append(row)
    curves = {name: reliability(reported.truth, P) for name, P in reported.scores().items()}
    file = reported.figures / "reliability.png"
    plots.plot_reliability(curves, reported.split_name, colour=plots.colours(reported.runs), file=file)
    text = f"<p>{CALIBRATION}</p>"
    return html.section("Calibration", html.table(pd.DataFrame(rows)), text, _images(reported, "reliability"))


def _importance(reported: Reported) -> str:
    parts = []
    for name, scorer in reported.explained.items():
        file = reported.figures / f"importance_{name}.png"
        detector = reported.detector
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


SECTIONS: tuple[Callable[[Reported], str], ...] = (_leaderboard, _species, _calibration, _importance)


def _examples(reported: Reported, store: FrameStore) -> list[str]:
    recordings = reported.dataset.test if reported.split == "test" else reported.dataset.train
    scores = reported.scores()[reported.best]
    split = ScoredSplit(reported.split, list(recordings), store, scores, reported.truth)
    name = max(reported.explained, key=lambda name: reported.runs[name].metrics["oof"]["lrap"], default="")
    found = find_examples(reported.detector, reported.explained.get(name), split)
    return [
        html.section(heading, *[_example(reported, example, name) for example in shown])
        for heading, shown in found.items()
    ]


def _example(reported: Reported, example: Example, explained: str) -> str:
    file = reported.figures / "example.png"
    plots.plot_example(
        example.frames.levels,
        settings=reported.detector.settings,
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


def _false_alarms(reported: Reported, store: FrameStore, *, seed: int, n_jobs: int) -> str:
    # External scores for noise are unknown, so false alarms are not counted for a blend with such scores.
    external = reported.detector.external_members
    name = best_member(reported.runs) if external else reported.best
    detector = Detector.load(reported.results / name)
    noises = noise_recordings(store, reported.dataset, seed)
    text = FALSE_ALARMS.format(escape(name), DEFAULT_PRECISION)
    return html.section(
        "False alarms", f"<p>{text}</p>", html.table(count_false_alarms(detector, noises, n_jobs))
    )


def _studies(reported: Reported) -> list[str]:
    sections = []
    for name, run in reported.runs.items():
        if "study" in run.config:
            values = study_values(reported.results / "optuna.db", run.config["study"])
            if values is None:
                continue
            plots.plot_study(values, reported.figures / f"study_{name}.png")
            sections.append(html.section(f"Study of {name}", _images(reported, f"study_{name}")))
    return sections


def study_values(database: Path, name: str) -> np.ndarray | None:
    """Return the out-of-fold score of each finished trial of a study, (n_trials,), nan for pruned trials.

    None if the database does not exist or does not have the study.
    """
    if not database.exists():  # Optuna would create it
        return None
    try:
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{database}")
    except (KeyError, SQLAlchemyError, optuna.exceptions.StorageInternalError):
        return None
    trials = [trial for trial in study.trials if trial.state.is_finished() and trial.state.name != "FAIL"]
    return np.array([trial.value if trial.state.name == "COMPLETE" else np.nan for trial in trials], float)


def _blend(reported: Reported) -> str:
    if not any(run.kind == BLEND for run in reported.runs.values()):
        return ""
    return html.section("Blend", f"<p>{BLEND_TEXT}</p>", _images(reported, "weights", "species"))


def _settings(reported: Reported) -> str:
    left_out = ("columns", "thresholds", "species", "bands", "calibration", "fold_blends")
    parts = []
    for name, run in reported.runs.items():
        config = {key: value for key, value in run.config.items() if key not in left_out}
        text = escape(json.dumps(config, indent=1))
        parts.append(f"<details><summary>{escape(name)}</summary><pre>{text}</pre></details>")
    return html.section("Settings", *parts)


def _images(reported: Reported, *names: str) -> str:
    files = [reported.figures / f"{name}.png" for name in names]
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
    "AP is the average precision over recordings. A species is reported if its score reaches its threshold. "
    "At this threshold, its precision on the out-of-fold scores is at least {0:g}. If no threshold gives "
    "this precision, the threshold is just above the scores of all recordings without the species. Click a "
    "column heading to sort."
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
