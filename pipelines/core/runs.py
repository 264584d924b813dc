"""A model's run on disk: its scores, settings and metrics, as the results contract says."""

import platform
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import read_arrays, replacing, replacing_all, write_json
from features.data.dataset import Dataset
from models.metrics import Evaluation, ap_per_species, auc_per_species, calibration, evaluate
from models.scoring.thresholds import Thresholds
from pipelines.core.task import presence
from pipelines.reporting.plots import update_leaderboard

LIBRARIES = ("numpy", "scipy", "librosa", "lightgbm", "torch", "optuna", "scikit-learn")


class RunError(UserError):
    """A run that is missing, or does not fit another."""


class Saved(Protocol):
    """What can write itself to a folder."""

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Scores:
    """The scores of one split.

    recording_id : (R,) str. species : (S,) str. scores : (R, S) in [0, 1].
    fold : (R,) int of out-of-fold scores; None of test scores.
    """

    recording_id: np.ndarray
    species: np.ndarray
    scores: np.ndarray
    fold: np.ndarray | None = None

    def save(self, file: Path) -> None:
        arrays = {"recording_id": self.recording_id, "species": self.species, "scores": self.scores}
        if self.fold is not None:
            arrays["fold"] = self.fold
        with replacing(file) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the scores that `save` wrote; ValueError or TypeError if the file is another's."""
        return cls(**read_arrays(file))


def evaluations(
    dataset: Dataset, oof: np.ndarray, test: np.ndarray | None, seed: int
) -> dict[str, Evaluation]:
    """Return the evaluations of a model's scores, by the truth that they are held against.

    "oof" is against the complete truth where there is one, else with unknown counted as absent.
    Without a complete truth "oof_known_cells" ranks only the species that boxes speak of, in the
    recordings whose boxes show one and deny another: the others rank right however they are scored.
    "test" needs test truth.
    """
    known = presence(dataset)
    found = {"oof": evaluate(np.nan_to_num(known), oof, seed)}
    if dataset.train_labels is None:
        both = (known == 0).any(axis=1) & (known == 1).any(axis=1)
        found["oof_known_cells"] = evaluate(np.where(both[:, None], known, np.nan), oof, seed)
    if dataset.test_labels is not None and test is not None:
        found["test"] = evaluate(dataset.test_labels.astype(float), test, seed)
    return found


def calibrations(
    dataset: Dataset,
    before: tuple[np.ndarray, np.ndarray | None],
    after: tuple[np.ndarray, np.ndarray | None],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return by split how good probabilities are before and after calibration.

    Parameters
    ----------
    before, after : out-of-fold and test (n_recordings, n_species) probabilities.
    """
    truths = {"oof": np.nan_to_num(presence(dataset)), "test": dataset.test_labels}
    return {
        split: {
            "uncalibrated": asdict(calibration(truth.astype(float), P)),
            "calibrated": asdict(calibration(truth.astype(float), calibrated)),
        }
        for (split, truth), P, calibrated in zip(truths.items(), before, after, strict=True)
        if truth is not None and P is not None and calibrated is not None
    }


def per_species(dataset: Dataset, oof: np.ndarray, test: np.ndarray | None) -> pd.DataFrame:
    """Return a row per species: name, its TP boxes, and AP and AUC of each split."""
    n_tp = np.bincount(dataset.tp["species_id"], minlength=dataset.n_species)
    table = pd.DataFrame({"name": dataset.species, "n_tp": n_tp})
    truth = np.nan_to_num(presence(dataset))
    table["oof_ap"], table["oof_auc"] = ap_per_species(truth, oof), auc_per_species(truth, oof)
    if dataset.test_labels is not None and test is not None:
        truth = dataset.test_labels.astype(float)
        table["test_ap"], table["test_auc"] = ap_per_species(truth, test), auc_per_species(truth, test)
    return table


def median_bands(dataset: Dataset) -> np.ndarray:
    """Return the (n_species, 2) median f_min and f_max of each species' TP boxes, or of all, Hz."""
    columns = ["f_min", "f_max"]
    by_species = dataset.tp.groupby("species_id")[columns].median()
    bands = by_species.reindex(range(dataset.n_species)).fillna(dataset.tp[columns].median())
    return bands.to_numpy(float)


def write_run(
    results: Path,
    model: str,
    dataset: Dataset,
    oof: np.ndarray,
    test: np.ndarray | None,
    fold: np.ndarray,
    seconds: Mapping[str, float],
    seed: int,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    models: Collection[Saved] = (),
) -> pd.DataFrame:
    """Write a run to its folder of `results` and the leaderboard; return the leaderboard.

    Parameters
    ----------
    oof, test : (n_recordings, n_species) scores in [0, 1]; test is None without test recordings.
    fold : (n_train,) fold of each training recording.
    seconds : by split, what fitting and scoring took.
    config, metrics : what config.json and metrics.json hold beside what every run's do.
    models : what is saved beside the scores.
    """
    file = results / model / "oof.npz"
    before = file.read_bytes() if file.exists() else None
    found = evaluations(dataset, oof, test, seed)
    truth = presence(dataset)
    general = {
        "model": model,
        "dataset": dataset.name,
        "species": dataset.species,
        "bands": median_bands(dataset).tolist(),
        "prior": float(np.nan_to_num(truth).mean()),
        "thresholds": Thresholds.fit(oof, np.nan_to_num(truth)).config(),
        "seed": seed,
        "versions": versions(),
    }
    evaluated = {name: asdict(evaluation) for name, evaluation in found.items()}
    species = per_species(dataset, oof, test).to_dict("records")
    names = np.array(dataset.species)
    with replacing_all(results / model, last=file.name) as folder:
        for part in models:
            part.save(folder)
        write_json(folder / "config.json", {**general, **config})
        write_json(folder / "metrics.json", {**evaluated, **metrics, "per_species": species})
        if test is not None:
            write_submission(
                folder / "submission.csv", dataset, test, np.nan_to_num(presence(dataset)).mean(0)
            )
            Scores(np.array(list(dataset.test)), names, test).save(folder / "test.npz")
        Scores(np.array(list(dataset.train)), names, oof, fold).save(folder / file.name)
    if test is None:  # an earlier run had test recordings
        for name in ("test.npz", "submission.csv"):
            (results / model / name).unlink(missing_ok=True)
    # A blend of scores that are no more is taken off the leaderboard, and what was drawn from a blend.
    outdated = ["blend", "blend+prior"] if before != file.read_bytes() or model == "blend" else []
    return update_leaderboard(results, model, found, seconds, outdated)


def write_submission(file: Path, dataset: Dataset, test: np.ndarray, prior: np.ndarray) -> None:
    """Write (n_test, n_species) scores of the test recordings as the challenge takes them.

    It wants a row for every recording, so one that has no scores gets the (n_species,) `prior`.
    """
    n_unscored = len(dataset.unscored)
    if n_unscored:
        print(
            f"warning: {file.name} has the prior in place of scores for {n_unscored} recordings",
            file=sys.stderr,
        )
    rows = np.concatenate([test, np.tile(prior, (n_unscored, 1))])
    submission = pd.DataFrame(rows, columns=[f"s{k}" for k in range(dataset.n_species)])
    submission.insert(0, "recording_id", [*dataset.test, *dataset.unscored])
    with replacing(file) as temporary:
        submission.to_csv(temporary, index=False)


def read_member(results: Path, model: str, dataset: Dataset) -> tuple[Scores, Scores | None]:
    """Return a model's out-of-fold and test scores, which must be those of `dataset`.

    Raises
    ------
    RunError
        There is no run, or it is another data set's; the message names the command that makes it.
    """
    remedy = f"run 'python pipelines/{model}.py' with the same --data and --results"
    splits = {"oof": dataset.train, "test": dataset.test} if dataset.test else {"oof": dataset.train}
    member = {}
    for split, recordings in splits.items():
        file = results / model / f"{split}.npz"
        if not file.exists():
            raise RunError(f"{file}: is missing, so there is no whole run of {model}; {remedy}")
        try:
            scores = member[split] = Scores.load(file)
        except (ValueError, TypeError) as error:
            raise RunError(f"{file}: holds no scores ({error}); {remedy}") from error
        for what, found, wanted in (
            ("recordings", scores.recording_id, list(recordings)),
            ("species", scores.species, list(dataset.species)),
        ):
            if list(found) != wanted:
                raise RunError(f"{file}: its {what} are not those of the data set; {remedy}")
    return member["oof"], member.get("test")


def common_folds(results: Path, members: Mapping[str, Scores]) -> np.ndarray:
    """Return the (R,) folds that all members were scored on; RunError if they differ."""
    (first, reference), *others = members.items()
    assert reference.fold is not None  # out-of-fold scores have folds
    for model, scores in others:
        if not np.array_equal(reference.fold, scores.fold):  # type: ignore[arg-type]
            raise RunError(
                f"{results}: {first}/oof.npz and {model}/oof.npz differ in their folds; run both again with "
                f"the same --folds and --seed"
            )
    return reference.fold


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that figures hang on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
