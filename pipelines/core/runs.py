"""A run: the folder with the scores, settings, metrics and model files of one model.

RESULTS/<model>/
  oof.npz, test.npz      recording_id, species, scores; oof.npz also has fold and holdout
  config.json            settings that affect the scores, species, thresholds
  metrics.json           evaluations, seconds, metrics of each species
  submission.csv         scores of the test recordings in the format of the RFCX challenge
  ...                    the model, in file formats that cannot contain code
  manifest.json          digests of the data, and size and SHA-256 of each file
"""

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import read_arrays, read_json, replacing, replacing_folder, write_json
from features.common.formulas import escape_formulas
from features.data.dataset import Dataset
from features.data.identity import data_identity
from models.scoring.thresholds import Thresholds
from pipelines.core.evaluation import evaluations, species_metrics
from pipelines.core.manifest import Manifest
from pipelines.core.run_config import BASELINE, EXTERNAL, KINDS, MEMBER, validate_config
from pipelines.core.truth import training_truth

T = TypeVar("T")
INVALID = (LookupError, AttributeError, ArithmeticError, TypeError, ValueError, OSError)
"""Errors that reading a damaged file can raise."""
FORMAT = 5  # increase it when run folders of earlier versions can no longer be read
LIBRARIES = ("numpy", "scipy", "librosa", "lightgbm", "torch", "optuna", "scikit-learn")
BASELINES = ("prior", "background")
LEADERBOARD = "leaderboard.csv"
MAX_READS = 10  # of a run that other commands keep replacing


class RunError(UserError):
    """A run is missing, invalid, or inconsistent with the data set or with another run."""


class Saved(Protocol):
    """An object that can be written to a folder."""

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Scores:
    """Scores of one split.

    Attributes
    ----------
    recording_id : (n_recordings,) str.
    species : (n_species,) str.
    scores : (n_recordings, n_species) in [0, 1].
    fold : (n_recordings,) int for out-of-fold scores, None for test scores.
    holdout : (n_recordings,) bool for out-of-fold scores, which recordings the metrics are computed on; None
        for test scores.
    """

    recording_id: np.ndarray
    species: np.ndarray
    scores: np.ndarray
    fold: np.ndarray | None = None
    holdout: np.ndarray | None = None

    def save(self, file: Path) -> None:
        """Write the scores to an npz file."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        with replacing(file) as temporary:
            np.savez(temporary, **arrays)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the scores that `save` wrote; ValueError or TypeError if the file is not valid."""
        loaded = cls(**read_arrays(file))
        shape = (len(loaded.recording_id), len(loaded.species))
        names = loaded.recording_id.dtype.kind == loaded.species.dtype.kind == "U"
        if loaded.scores.shape != shape or loaded.scores.dtype.kind != "f" or not names:
            raise ValueError(f"{file.name}: arrays have unexpected shapes or types")
        if not ((loaded.scores >= 0) & (loaded.scores <= 1)).all():  # also true for nan
            raise ValueError(f"{file.name}: scores are not between 0 and 1")
        if loaded.fold is not None and (loaded.fold.shape != shape[:1] or loaded.fold.dtype.kind != "i"):
            raise ValueError(f"{file.name}: fold is not one integer per recording")
        if loaded.holdout is not None and (loaded.holdout.shape != shape[:1] or loaded.holdout.dtype != bool):
            raise ValueError(f"{file.name}: holdout is not true or false per recording")
        return loaded


@dataclass(frozen=True)
class Run:
    """A run as stored in its folder.

    Attributes
    ----------
    name : name of the model and of the folder.
    config, metrics : contents of config.json and metrics.json.
    oof : out-of-fold scores of the training recordings.
    test : scores of the test recordings, None without test recordings.
    manifest : the data that it was trained on, and its files.
    """

    name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    oof: Scores
    test: Scores | None
    manifest: Manifest

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.config["kind"]


@dataclass(frozen=True)
class NewRun:
    """A run to be written by `write_run`.

    Attributes
    ----------
    name : name of the model and of its folder.
    kind : one of `KINDS`.
    oof, test : (n_recordings, n_species) scores in [0, 1]; test is None without test recordings.
    fold : (n_train,) fold of each training recording.
    holdout : (n_train,) bool, training recordings that the out-of-fold metrics are computed on.
    seconds : split -> time of fitting and scoring.
    seed : random seed.
    config, metrics : additional entries of config.json and metrics.json.
    parts : further objects to write to the folder, such as the model.
    """

    name: str
    kind: str
    oof: np.ndarray
    test: np.ndarray | None
    fold: np.ndarray
    holdout: np.ndarray
    seconds: Mapping[str, float]
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Saved] = ()


def write_run(results: Path, dataset: Dataset, run: NewRun) -> None:
    """Write a run to its folder, and replace an earlier run of the same name as a whole.

    The leaderboard is removed, because its rows would be those of the earlier run.
    """
    truth = training_truth(dataset)
    config = {
        "format": FORMAT,
        "model": run.name,
        "kind": run.kind,
        "dataset": dataset.name,
        "species": dataset.species,
        "bands": median_bands(dataset).tolist(),
        "prior": float(truth.mean()),
        "thresholds": Thresholds.fit(run.oof, truth).config(),
        "seed": run.seed,
        "versions": versions(),
        **run.config,
    }
    found = evaluations(dataset, run.oof, run.test, holdout=run.holdout, seed=run.seed)
    metrics = {
        **{name: asdict(evaluation) for name, evaluation in found.items()},
        "seconds": dict(run.seconds),
        **run.metrics,
        "per_species": species_metrics(dataset, run.oof, run.test, holdout=run.holdout).to_dict("records"),
    }
    species = np.array(dataset.species)
    with replacing_folder(results / run.name) as folder:
        for part in run.parts:
            part.save(folder)
        write_json(folder / "config.json", config)
        write_json(folder / "metrics.json", metrics)
        if run.test is not None:
            submission = folder / "submission.csv"
            write_submission(submission, dataset, run.test, prior=truth.mean(axis=0))
            Scores(np.array(list(dataset.test)), species, run.test).save(folder / "test.npz")
        oof = Scores(np.array(list(dataset.train)), species, run.oof, run.fold, run.holdout)
        oof.save(folder / "oof.npz")
        Manifest.of(folder, data_identity(dataset)).save(folder)
        (results / LEADERBOARD).unlink(missing_ok=True)


def write_submission(file: Path, dataset: Dataset, test: np.ndarray, *, prior: np.ndarray) -> None:
    """Write the scores of the test recordings in the format of the RFCX challenge.

    Parameters
    ----------
    test : (n_test, n_species) scores.
    prior : (n_species,) scores of the test recordings that could not be read; the challenge requires a
        row for every recording.
    """
    n_unscored = len(dataset.unscored)
    if n_unscored:
        print(
            f"warning: {file.name} has the prior instead of scores for {n_unscored} recordings that could "
            f"not be decoded",
            file=sys.stderr,
        )
    rows = np.concatenate([test, np.tile(prior, (n_unscored, 1))])
    submission = pd.DataFrame(rows, columns=[f"s{k}" for k in range(dataset.n_species)])
    submission.insert(0, "recording_id", [*dataset.test, *dataset.unscored])
    with replacing(file) as temporary:
        escape_formulas(submission).to_csv(temporary, index=False)


def has_run(folder: Path) -> bool:
    """Return whether a folder holds a complete run."""
    return (folder / "config.json").is_file() and (folder / "oof.npz").is_file()


def run_names(results: Path) -> list[str]:
    """Return the names of all runs in a results folder, sorted."""
    if not results.is_dir():
        return []
    # Hidden folders are unfinished runs of commands that were killed.
    return sorted(
        folder.name for folder in results.iterdir() if not folder.name.startswith(".") and has_run(folder)
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Return the validated config.json of a run.

    Raises
    ------
    RunError
        There is no run, or it is invalid, or a different version of this software wrote it.
    """
    if not has_run(folder):
        raise RunError(f"{folder}: no trained model here; give the folder of a run, such as RESULTS/blend")
    try:
        config = read_json(folder / "config.json")
        if config.get("format") != FORMAT:
            found = config.get("format", "missing")
            raise ValueError(f"its format is {found}, this version reads {FORMAT}")
        validate_config(config)
    except INVALID as error:
        raise invalid_run(folder, error) from error
    return config


def read_run(folder: Path) -> Run:
    """Return the run in a folder.

    Raises
    ------
    RunError
        There is no run, one of its files has changed since it was written, or it is invalid.
    """
    return read_whole(folder, partial(_read_run, folder))


def _read_run(folder: Path, config: dict[str, Any], manifest: Manifest) -> Run:
    metrics = read_json(folder / "metrics.json")
    for key in ("seconds", "oof"):
        if not isinstance(metrics[key], dict):
            raise TypeError(f"metrics.json: {key} must be an object")
    oof = Scores.load(folder / "oof.npz")
    if oof.fold is None or oof.holdout is None:
        raise ValueError("oof.npz has no fold or no holdout")
    test = Scores.load(folder / "test.npz") if (folder / "test.npz").exists() else None
    return Run(folder.name, config, metrics, oof, test, manifest)


def read_whole(folder: Path, read: Callable[[dict[str, Any], Manifest], T]) -> T:
    """Return what `read` returns for the config.json and the manifest of a run.

    All files are those of the manifest, and of one version of the run, even if another command replaces it
    in the meantime: `read` is then called again.

    Raises
    ------
    RunError
        There is no run, one of its files has changed since it was written, or it is invalid.
    """
    read_config(folder)
    for _ in range(MAX_READS):
        manifest = read_manifest(folder)
        failure: Exception | None = None
        try:
            manifest.validate(folder)
            found = read(read_config(folder), manifest)
        except (UserError, *INVALID) as error:
            failure = error
        if read_manifest(folder) != manifest:
            continue
        if failure is None:
            return found
        raise failure if isinstance(failure, RunError) else invalid_run(folder, failure) from failure
    raise RunError(f"{folder}: another command keeps replacing this run; wait until it has ended")


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a run; RunError if it is missing or not valid."""
    try:
        return Manifest.load(folder)
    except INVALID as error:
        raise invalid_run(folder, error) from error


def read_runs(results: Path, data: Mapping[str, str]) -> dict[str, Run]:
    """Return all runs of a results folder by name: baselines, then members, external scores and the blend.

    Runs of one kind are sorted by name, except that `prior` comes before `background`. Invalid runs are left
    out with a warning. So are runs of other data, and a blend if a member has changed since it was blended.

    Parameters
    ----------
    data : identity of the data set, see `features.data.identity`.
    """
    current = []
    for run in _read_valid(results, read_run).values():
        try:
            validate_same_data(results / run.name, run, data)
            if is_outdated(results, run.config):
                raise outdated_blend(results / run.name)
        except RunError as error:
            warn_left_out(str(error))
        else:
            current.append(run)

    def position(run: Run) -> tuple[int, int]:
        return KINDS.index(run.kind), BASELINES.index(run.name) if run.name in BASELINES else 0

    return {run.name: run for run in sorted(current, key=position)}


def run_kinds(results: Path) -> dict[str, str]:
    """Return the kind of each run of a results folder, by name; invalid runs are left out with a warning."""
    return {name: config["kind"] for name, config in _read_valid(results, read_config).items()}


def _read_valid(results: Path, read: Callable[[Path], T]) -> dict[str, T]:
    """Return the result of `read` for each run, by name; runs for which it fails are left out."""
    found = {}
    for name in run_names(results):
        try:
            config = read_config(results / name)
            if config["model"] != name:
                raise RunError(f"{results / name}: a copy of the run '{config['model']}'; move it elsewhere")
            found[name] = read(results / name)
        except RunError as error:
            warn_left_out(str(error))
    return found


@cache  # a command reads the runs several times
def warn_left_out(reason: str) -> None:
    """Print a warning that a run is left out."""
    print(f"warning: run left out: {reason}", file=sys.stderr)


def read_member(results: Path, name: str, data: Mapping[str, str]) -> Run:
    """Return the run of a member, which must have been trained on the data with the identity `data`.

    Raises
    ------
    RunError
        There is no such run, it is invalid, or it was trained on other data.
    """
    folder = results / name
    if not has_run(folder):
        raise RunError(f"{folder}: no complete run of {name}; {remedy_for(name, MEMBER)}")
    run = read_run(folder)
    validate_same_data(folder, run, data)
    return run


def validate_same_data(folder: Path, run: Run, data: Mapping[str, str]) -> None:
    """Raise RunError if the run in `folder` belongs to other data than those with the identity `data`."""
    different = run.manifest.differences(data)
    if different:
        raise RunError(
            f"{folder}: belongs to other data ({', '.join(different)} of the data set have changed since); "
            f"{remedy_for(run.name, run.kind)}"
        )


def remedy_for(name: str, kind: str) -> str:
    """Return the part of an error message that says how to write a run again."""
    if kind == EXTERNAL:
        return f"give its scores again with 'python pipelines/blend.py --scores {name}=FILE'"
    if kind == BASELINE:  # every training command writes the baselines
        return "train a member again with the same --data and --results"
    return f"run 'python pipelines/{name}.py' with the same --data and --results"


def outdated_blend(folder: Path) -> RunError:
    """Return the error for a blend with a member that has been trained again."""
    return RunError(f"{folder}: a member has been trained again; run 'python pipelines/blend.py' again")


def is_outdated(results: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a run is a blend with a member that is missing or has been trained again."""
    return any(
        not has_run(results / name) or read_manifest(results / name).id != member["id"]
        for name, member in config.get("members", {}).items()
    )


def invalid_run(folder: Path, error: Exception) -> RunError:
    """Return the error for a run folder that cannot be read because of `error`."""
    if isinstance(error, UserError):
        return RunError(str(error))
    reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
    return RunError(f"{folder}: not a valid run of this version ({reason}); train or blend it again")


def median_bands(dataset: Dataset) -> np.ndarray:
    """Return the median f_min and f_max of the TP boxes of each species, Hz, shape (n_species, 2).

    A species without a TP box gets the median of all boxes.
    """
    columns = ["f_min", "f_max"]
    by_species = dataset.tp.groupby("species_id")[columns].median()
    bands = by_species.reindex(range(dataset.n_species)).fillna(dataset.tp[columns].median())
    return bands.to_numpy(float)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect the scores."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
