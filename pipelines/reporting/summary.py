"""The top of the report: what was trained, how well it ranks, what its thresholds give, and its origin."""

from datetime import UTC, datetime
from html import escape

import numpy as np

from models.metrics import MIN_POSITIVES, evaluate, lrap, precision_and_recall
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.evaluation import compares_species
from pipelines.core.run_config import BLEND
from pipelines.reporting.contents import Contents

SPLITS = {"oof": "training recordings (scored out of fold)", "test": "test recordings"}


def summary_html(contents: Contents, n_failed: int) -> str:
    """Return two sentences of results, and the origin of the results, as two paragraphs.

    Parameters
    ----------
    n_failed : number of recordings that could not be read.
    """
    sentences = f"{ranking_sentence(contents)} {threshold_sentence(contents)}"
    return f'<p>{escape(sentences)}</p>\n<p class="lead">{escape(_origin(contents, n_failed))}</p>'


def ranking_sentence(contents: Contents) -> str:
    """Return what was trained on what, and how well it ranks compared with the baseline `prior`."""
    dataset, run, split = contents.dataset, contents.runs[contents.best], contents.split_name
    names = " and ".join(member.name for member in contents.detector.members)
    trained = (
        f"The {'blend of' if run.kind == BLEND else 'model'} {names} was trained on {len(dataset.train)} "
        f"recordings with {len(dataset.tp)} boxed calls of {dataset.n_species} species"
    )
    where = SPLITS[split]
    # Not from metrics.json, because test labels can be newer than the run.
    found = evaluate(contents.truth, contents.scores()[run.name], run.config["seed"])
    if compares_species(dataset) and np.isfinite(found.lrap):
        compared = ""
        if contents.prior is not None:
            value = lrap(contents.truth, contents.scores_of(contents.prior))
            compared = f", compared with {value:.3f} for the baseline prior, which does not use the audio"
        interval = f"95 % interval {found.lrap_low:.3f} to {found.lrap_high:.3f}; 1 is best"
        return (
            f"{trained} and ranks the species in {where} with a label ranking average precision (LRAP) of "
            f"{found.lrap:.3f} ({interval}){compared}."
        )
    if not compares_species(dataset) and np.isfinite(found.macro_auc):
        return (
            f"{trained} and ranks {where} with the species above those without it with an AUC of "
            f"{found.macro_auc:.3f} (1 is best, 0.5 is chance); LRAP is not used, because it compares "
            f"several species."
        )
    return f"{trained}; its ranking cannot be measured, because the {where} give nothing to rank."


def threshold_sentence(contents: Contents) -> str:
    """Return precision and recall at the default thresholds, and how many thresholds cannot be verified."""
    P = contents.scores()[contents.best]
    achieved = precision_and_recall(contents.truth, P, contents.threshold)
    parts = []
    for name, values, verb in zip(("precision", "recall"), achieved, ("reported", "present"), strict=True):
        defined = values[np.isfinite(values)]
        over = f"over the species that are {verb} ({len(defined)} of {len(values)})"
        parts.append(
            f"mean {name} is {defined.mean():.2f} {over}" if len(defined) else f"no species is {verb}"
        )
    verifiable = contents.detector.thresholds.verifiable
    unverifiable = (
        f"{(~verifiable).sum()} of {len(verifiable)} thresholds cannot be verified, because fewer than "
        f"{MIN_POSITIVES} training recordings contain the species"
    )
    return (
        f"At the default thresholds, which aim at a precision of {DEFAULT_PRECISION:g}, "
        f"{', and '.join(parts)}; "
        f"{'all thresholds can be verified' if verifiable.all() else unverifiable}."
    )


def _origin(contents: Contents, n_failed: int) -> str:
    """Return when, with which seed and with which versions the shown run was written, and its data."""
    dataset, run = contents.dataset, contents.runs[contents.best]
    written = datetime.fromtimestamp((contents.results / run.name / "oof.npz").stat().st_mtime, UTC)
    model = run.name
    if run.kind == BLEND:
        weights = zip(contents.detector.members, contents.detector.blend.weights, strict=True)
        model += f" ({', '.join(f'{weight:.2f} {member.name}' for member, weight in weights)})"
    versions = ", ".join(f"{name} {version}" for name, version in run.config["versions"].items())
    return (
        f"Results of {written:%Y-%m-%d %H:%M} UTC. Model: {model}, seed {run.config['seed']}, {versions}. "
        f"Data: {len(dataset.train)} training and {len(dataset.test)} test recordings, {dataset.n_species} "
        f"species, {len(dataset.tp)} TP and {len(dataset.fp)} FP boxes; {n_failed} recordings could not be "
        "read."
    )
