"""Evaluation of a run's scores against the truth of its data set."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from features.data.dataset import Dataset
from models.metrics import (
    MIN_POSITIVES,
    Evaluation,
    ap_per_species,
    auc_per_species,
    bootstrap_interval,
    calibration_metrics,
    evaluate,
    lrap,
    lrap_per_recording,
)
from pipelines.core.truth import presence, training_truth


def selection_metric(wanted: str, dataset: Dataset) -> str:
    """Return the name of the metric that selects parameters and weights.

    It is `wanted`, unless only one species has positive recordings. LRAP compares the species in a recording,
    so it is then 1, or only tells whether that species is ranked above species that are never present. AUC
    replaces it, and a line is printed.
    """
    if wanted == "auc" or compares_species(dataset):
        return wanted
    print(f"only one species has positive recordings, so AUC replaces {wanted.upper()} in all selections")
    return "auc"


def compares_species(dataset: Dataset) -> bool:
    """Return whether several species have positive recordings; otherwise LRAP has nothing to compare."""
    return int(training_truth(dataset).any(axis=0).sum()) > 1


def print_unverifiable(dataset: Dataset) -> None:
    """Print the species with too few positive recordings for thresholds of their own, if there are any."""
    rare = training_truth(dataset).sum(axis=0) < MIN_POSITIVES
    if rare.any():
        names = ", ".join(np.array(dataset.species)[rare])
        have, their = ("has", "its") if rare.sum() == 1 else ("have", "their")
        print(
            f"{rare.sum()} species {have} fewer than {MIN_POSITIVES} positive recordings, so {their} "
            f"thresholds cannot be verified: {names}"
        )


def evaluations(
    dataset: Dataset, oof: np.ndarray, test: np.ndarray | None, *, holdout: np.ndarray, seed: int
) -> dict[str, Evaluation]:
    """Return the evaluations of a run's scores: "oof", and where possible "oof_known_cells" and "test".

    "oof" compares with train_labels.csv. Without this file, unknown species count as absent, and
    "oof_known_cells" is added: only recordings with both a TP and an FP box count, and in each of them only
    the species with a box there are ranked. "test" needs test_labels.csv.

    Parameters
    ----------
    oof, test : (n_recordings, n_species) scores; test is None without test recordings.
    holdout : (n_train,) bool, training recordings that the out-of-fold evaluations are for.
    seed : random seed of the bootstrap intervals.
    """
    known, oof = presence(dataset)[holdout], oof[holdout]
    found = {"oof": evaluate(training_truth(dataset)[holdout], oof, seed)}
    if dataset.train_labels is None:
        # A recording whose known species are all present, or all absent, has nothing to rank.
        both = (known == 0).any(axis=1) & (known == 1).any(axis=1)
        found["oof_known_cells"] = evaluate(np.where(both[:, None], known, np.nan), oof, seed)
    if dataset.test_labels is not None and test is not None:
        found["test"] = evaluate(dataset.test_labels.astype(float), test, seed)
    return found


def calibration_by_split(
    dataset: Dataset,
    uncalibrated: tuple[np.ndarray, np.ndarray | None],
    calibrated: tuple[np.ndarray, np.ndarray | None],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the calibration metrics before and after calibration, for each split with truth.

    Parameters
    ----------
    uncalibrated, calibrated : out-of-fold and test (n_recordings, n_species) probabilities.
    """
    truths = {"oof": training_truth(dataset), "test": dataset.test_labels}
    return {
        split: {
            "uncalibrated": asdict(calibration_metrics(truth.astype(float), before)),
            "calibrated": asdict(calibration_metrics(truth.astype(float), after)),
        }
        for (split, truth), before, after in zip(truths.items(), uncalibrated, calibrated, strict=True)
        if truth is not None and before is not None and after is not None
    }


def species_metrics(
    dataset: Dataset, oof: np.ndarray, test: np.ndarray | None, *, holdout: np.ndarray
) -> pd.DataFrame:
    """Return one row per species: name, number of TP boxes, AP and AUC of each split.

    The parameters are those of `evaluations`.
    """
    n_tp = np.bincount(dataset.tp["species_id"], minlength=dataset.n_species)
    table = pd.DataFrame({"name": dataset.species, "n_tp": n_tp})
    truth, oof = training_truth(dataset)[holdout], oof[holdout]
    table["oof_ap"], table["oof_auc"] = ap_per_species(truth, oof), auc_per_species(truth, oof)
    if dataset.test_labels is not None and test is not None:
        truth = dataset.test_labels.astype(float)
        table["test_ap"], table["test_auc"] = ap_per_species(truth, test), auc_per_species(truth, test)
    return table


def lrap_difference(Y: np.ndarray, P: np.ndarray, other: np.ndarray, *, seed: int) -> dict[str, float]:
    """Return the LRAP of P minus that of `other`, paired by recording, and its 95 % bootstrap interval.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth.
    P, other : (n_recordings, n_species) scores.
    seed : random seed of the interval.
    """
    low, high = bootstrap_interval(lrap_per_recording(Y, P) - lrap_per_recording(Y, other), seed)
    return {"difference": lrap(Y, P) - lrap(Y, other), "low": low, "high": high}
