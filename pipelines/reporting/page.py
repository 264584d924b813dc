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
from features.data.identity import data_identity
from features.frames.store import FrameStore
from models.metrics import MIN_POSITIVES, precision_and_recall, reliability
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detector import Detector
from pipelines.core.evaluation import compares_species
from pipelines.core.failed_recordings import read_failed
from pipelines.core.leaderboard import update_leaderboard
from pipelines.core.run_config import BLEND
from pipelines.reporting import html, plots, texts
from pipelines.reporting.contents import Contents, ScoredSplit, best_member
from pipelines.reporting.examples import Example, find_examples
from pipelines.reporting.explain import decisive_columns, importance_by_band
from pipelines.reporting.false_alarms import FalseReports, count_noise_detections, noise_recordings
from pipelines.reporting.review_sections import estimates_section, history_section
from pipelines.reporting.summary import summary_html


def write_page(
    results: Path, dataset: Dataset, *, estimates: Path | None = None, seed: int, n_jobs: int
) -> Path:
    """Write `report.html` and its figures; return its path.

    Parameters
    ----------
    dataset : the data set, without recordings that cannot be read.
    estimates : output of `review.py estimate` to show.
    seed : random seed of the noise that false alarms are counted in.
    n_jobs : number of cores to use.

    Raises
    ------
    RunError
        The results folder holds no trained model, or a run is not valid.
    UserError
        The estimates are missing or not valid.
    """
    contents = Contents.of(results, dataset)
    store = FrameStore(results / "frames", contents.detector.settings)
    for split, recordings in (("train", dataset.train), ("test", dataset.test)):
        store.compute(recordings, split, n_jobs, strict=True)  # in case frames have been deleted
    scored = contents.scored_split(store)
    parts = [
        *([] if estimates is None else [estimates_section(estimates, contents.figures)]),
        *(section(contents) for section in SECTIONS),
        *_examples(contents, scored),
        _false_alarms(contents, scored, seed=seed, n_jobs=n_jobs),
        *_studies(contents),
        _blend(contents),
        _settings(contents),
    ]
    lead = summary_html(contents, n_failed=sum(map(len, read_failed(results).values())))
    with replacing(results / "report.html") as temporary:
        temporary.write_text(
            html.page(dataset.name, lead, [part for part in parts if part]), encoding="utf-8"
        )
    return results / "report.html"


def _leaderboard(contents: Contents) -> str:
    leaderboard = update_leaderboard(contents.results, data_identity(contents.dataset))
    plots.plot_leaderboard(
        leaderboard, plots.colours(leaderboard["model"]), contents.figures / "leaderboard.png"
    )
    interval = [
        f"{low:.3f} to {high:.3f}"
        for low, high in zip(leaderboard["lrap_low"], leaderboard["lrap_high"], strict=True)
    ]
    table = leaderboard.drop(columns=["lrap_low", "lrap_high"])
    table.insert(4, "95 % interval", interval)
    table["split"] = table["split"].map(plots.SPLITS)
    table = table.rename(columns=texts.LEADERBOARD_HEADINGS)
    sources = [run.config["prior_from"] for run in contents.runs.values() if run.kind == BLEND]
    source = sources[0] if sources else "none"
    table_text = texts.PRIOR_TABLE.format(escape(source))
    prior = {"none": "", "estimate": texts.PRIOR_ESTIMATED}.get(source, table_text)
    partial = "" if contents.dataset.train_labels is not None else texts.PARTIAL
    compares = compares_species(contents.dataset)
    return html.section(
        "Leaderboard",
        html.table(table),
        f"<p>{texts.LRAP}{'' if compares else texts.LRAP_IS_CONSTANT}</p>",
        f"<p>{texts.LEADERBOARD}{prior}{partial}</p>",
        _images(contents, "leaderboard") if compares else "",
    )


def _species(contents: Contents) -> str:
    dataset, thresholds = contents.dataset, contents.detector.thresholds
    table = pd.DataFrame({"species": dataset.species})
    for name, boxes in (("TP", dataset.tp), ("FP", dataset.fp)):
        table[f"{name} boxes"] = np.bincount(boxes["species_id"], minlength=dataset.n_species)
    table["positive recordings, training"] = thresholds.n_positive
    if contents.split_name == "test":
        table["positive recordings, test"] = (contents.truth == 1).sum(axis=0)
    table["threshold"] = [
        value if verifiable else f"{value:.3f} (not verifiable)"
        for value, verifiable in zip(contents.threshold.tolist(), thresholds.verifiable, strict=True)
    ]
    achieved = precision_and_recall(contents.truth, contents.scores()[contents.best], contents.threshold)
    for name, of_species in zip(("precision", "recall"), achieved, strict=True):
        table[f"{name}, {plots.SPLITS[contents.split_name]}"] = of_species
    for split, words in plots.SPLITS.items():
        for name, run in contents.runs.items():
            values = [row.get(f"{split}_ap") for row in run.metrics["per_species"]]
            if any(value is not None for value in values):
                table[f"average precision of {name}, {words}"] = np.array(values, float)
    for name, scorer in contents.explained.items():
        table[f"decisive columns, {name}"] = [
            "; ".join(decisive.column for decisive in found) or "-"
            for found in decisive_columns(scorer, dataset.species)
        ]
    text = f"<p>{texts.SPECIES.format(escape(contents.best), DEFAULT_PRECISION, MIN_POSITIVES)}</p>"
    return html.section("Species", html.table(table, sortable=True), text)


def _calibration(contents: Contents) -> str:
    rows = []
    for name, run in contents.runs.items():
        for split, found in run.metrics.get("calibration", {}).items():
            row: dict[str, Any] = {"model": name, "split": plots.SPLITS[split]}
            for measure, words in texts.CALIBRATION_HEADINGS.items():
                for when in ("uncalibrated", "calibrated"):
                    value = found[when][measure]
                    row[f"{words}, {when}"] = float("nan") if value is None else value
            rows.append(row)
    curves = {name: reliability(contents.truth, P) for name, P in contents.scores().items()}
    file = contents.figures / "reliability.png"
    plots.plot_reliability(curves, contents.split_name, colour=plots.colours(contents.runs), file=file)
    text = f"<p>{texts.CALIBRATION}</p>"
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
        text = texts.IMPORTANCE.format(escape(name), escape(scorer.importance_meaning))
        parts += [f"<p>{text}</p>", html.image(file)]
    return html.section("Decisive frequencies", *parts) if parts else ""


SECTIONS: tuple[Callable[[Contents], str], ...] = (
    *(_leaderboard, history_section, _species, _calibration, _importance),
)


def _examples(contents: Contents, split: ScoredSplit) -> list[str]:
    name = max(contents.explained, key=lambda name: contents.runs[name].metrics["oof"]["lrap"], default="")
    found = find_examples(contents.detector, contents.explained.get(name), split)
    return [
        html.section(
            heading,
            f"<p>{texts.EXAMPLES[heading]} {texts.EXAMPLE_FIGURE if shown else 'There are none.'}</p>",
            *[_example(contents, example, name) for example in shown],
        )
        for heading, shown in found.items()
    ]


def _example(contents: Contents, example: Example, explained: str) -> str:
    file = contents.figures / "example.png"
    plots.plot_example(
        example.frames.levels,
        settings=contents.detector.settings,
        start=example.start,
        window=example.window,
        calls=example.calls,
        file=file,
    )
    image = html.image(file)
    file.unlink()
    columns = ", ".join(f"{escape(found.column)} ({found.value:+.2f})" for found in example.decisive)
    lines = [f"<b>{escape(example.title)}</b>", escape(f"{example.place}. {example.note}".strip())]
    if columns:
        lines.append(f"Decisive columns of {escape(explained)}, log odds added: {columns}")
    return f"<figure>{image}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _false_alarms(contents: Contents, split: ScoredSplit, *, seed: int, n_jobs: int) -> str:
    # External scores for noise are unknown, so noise is scored by a member if the blend has such scores.
    external = contents.detector.external_members
    name = best_member(contents.runs) if external else contents.best
    noises = noise_recordings(split.store.settings, seed)
    in_noise = count_noise_detections(Detector.load(contents.results / name), noises, n_jobs)
    return html.section(
        "False alarms",
        *_false_reports(contents, split),
        f"<p>{texts.NOISE.format(escape(name), DEFAULT_PRECISION)}</p>",
        html.table(in_noise),
    )


def _false_reports(contents: Contents, split: ScoredSplit) -> list[str]:
    """Return the rate of false reports in the recordings of the split, as sentences and as a table."""
    seconds = [split.store.extent(recording_id, split.name).duration for recording_id in split.recordings]
    found = FalseReports.count(
        split.known, split.scores, threshold=split.threshold, hours=np.array(seconds) / 3600
    )
    if not found.n_species:
        return [f"<p>{texts.NEVER_ABSENT}</p>"]
    if split.name == "test":
        basis = texts.TEST_BASIS
    else:
        basis = texts.BOX_BASIS if split.dataset.train_labels is None else texts.LABEL_BASIS
    text = texts.FALSE_REPORTS.format(
        per_hour=found.total_per_hour,
        model=escape(contents.best),
        level=DEFAULT_PRECISION,
        n_species=found.n_species,
        of=contents.dataset.n_species,
        hours=found.total_hours,
        seconds=np.mean(seconds),
    )
    table = pd.DataFrame(
        {
            "species": contents.dataset.species,
            "hours without the species": found.hours,
            "false reports": found.n_reports,
            "false reports per hour": found.per_hour,
        }
    ).sort_values("false reports per hour", ascending=False, kind="stable")
    return [f"<p>{text} {basis}</p>", html.table(table, sortable=True)]


def _studies(contents: Contents) -> list[str]:
    sections = []
    for name, run in contents.runs.items():
        if "study" in run.metrics:
            values = np.array(run.metrics["study"], float)  # nan for pruned trials
            plots.plot_study(values, contents.figures / f"study_{name}.png")
            images = _images(contents, f"study_{name}")
            sections.append(html.section(f"Study of {name}", f"<p>{texts.STUDY_TEXT}</p>", images))
    return sections


def _blend(contents: Contents) -> str:
    if not any(run.kind == BLEND for run in contents.runs.values()):
        return ""
    return html.section("Blend", f"<p>{texts.BLEND_TEXT}</p>", _images(contents, "weights", "species"))


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
