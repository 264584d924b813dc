"""A run: the results of one model in its folder of the results, as scores, settings, metrics and model.

RESULTS/<model>/
  oof.npz, test.npz      recording_id, species, scores, and fold for oof
  config.json            settings that affect the scores, species, thresholds
  metrics.json           evaluations, seconds, metrics of each species
  submission.csv         scores of the test recordings in the format of the RFCX challenge
  ...                    the model, in formats that only hold data
"""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import digest, read_arrays, replacing, replacing_folder, write_json
from features.data.dataset import Dataset
from models.scoring.thresholds import Thresholds
from pipelines.core.evaluation import evaluations, species_metrics
from pipelines.core.task import training_truth

FORMAT = 2  # raise it when run folders of earlier versions cannot be read any more
LIBRARIES = ("numpy", "scipy", "librosa", "lightgbm", "torch", "optuna", "scikit-learn")
BASELINE, MEMBER, EXTERNAL, BLEND = KINDS = ("baseline", "member", "external", "blend")


class RunError(UserError):
    """A run that is missing, not valid, or does not fit another one."""


class Saved(Protocol):
    """Something that can be written to a folder."""

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
    """

    recording_id: np.ndarray
    species: np.ndarray
    scores: np.ndarray
    fold: np.ndarray | None = None

    def save(self, file: Path) -> None:
        """Write the scores to an npz file."""
        arrays = {"recording_id": self.recording_id, "species": self.species, "scores": self.scores}
        if self.fold is not None:
            arrays["fold"] = self.fold
        with replacing(file) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the scores that `save` wrote; ValueError or TypeError if the file is not valid."""
        return cls(**read_arrays(file))


@dataclass(frozen=True)
class Run:
    """A run as its folder holds it.

    Attributes
    ----------
    name : name of the model and of the folder.
    config, metrics : contents of config.json and metrics.json.
    oof : out-of-fold scores of the training recordings.
    test : scores of the test recordings, None without test recordings.
    """

    name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    oof: Scores
    test: Scores | None

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.config["kind"]


@dataclass(frozen=True)
class NewRun:
    """What `write_run` writes.

    Attributes
    ----------
    name : name of the model and of its folder.
    kind : one of `KINDS`.
    oof, test : (n_recordings, n_species) scores in [0, 1]; test is None without test recordings.
    fold : (n_train,) fold of each training recording.
    seconds : split -> time of fitting and scoring.
    seed : random seed.
    config, metrics : entries of config.json and metrics.json beside the common ones.
    parts : written to the folder as well, the model for example.
    """

    name: str
    kind: str
    oof: np.ndarray
    test: np.ndarray | None
    fold: np.ndarray
    seconds: Mapping[str, float]
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Saved] = ()


def write_run(results: Path, dataset: Dataset, run: NewRun) -> None:
    """Write a run to its folder, in place of an earlier run of this name."""
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
    found = evaluations(dataset, run.oof, run.test, run.seed)
    metrics = {
        **{name: asdict(evaluation) for name, evaluation in found.items()},
        "seconds": dict(run.seconds),
        **run.metrics,
        "per_species": species_metrics(dataset, run.oof, run.test).to_dict("records"),
    }
    species = np.array(dataset.species)
    with replacing_folder(results / run.name, last="oof.npz") as folder:
        for part in run.parts:
            part.save(folder)
        write_json(folder / "config.json", config)
        write_json(folder / "metrics.json", metrics)
        if run.test is not None:
            write_submission(folder / "submission.csv", dataset, run.test, truth.mean(axis=0))
            Scores(np.array(list(dataset.test)), species, run.test).save(folder / "test.npz")
        Scores(np.array(list(dataset.train)), species, run.oof, run.fold).save(folder / "oof.npz")


def write_submission(file: Path, dataset: Dataset, test: np.ndarray, prior: np.ndarray) -> None:
    """Write the scores of the test recordings in the format of the RFCX challenge.

    Parameters
    ----------
    test : (n_test, n_species) scores.
    prior : (n_species,) scores of the test recordings that could not be decoded; the challenge requires a
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
        submission.to_csv(temporary, index=False)


def has_run(folder: Path) -> bool:
    """Return whether a folder holds a complete run."""
    return (folder / "config.json").is_file() and (folder / "oof.npz").is_file()


def run_names(results: Path) -> list[str]:
    """Return the names of all runs in a results folder, sorted."""
    return sorted(folder.name for folder in results.iterdir() if has_run(folder)) if results.is_dir() else []


def read_config(folder: Path) -> dict[str, Any]:
    """Return the validated config.json of a run.

    Raises
    ------
    RunError
        There is no run, or it was written by another version of this software.
    """
    if not has_run(folder):
        raise RunError(f"{folder}: no trained model here; give the folder of a run, such as RESULTS/blend")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("format") != FORMAT:
            found = config.get("format", "missing")
            raise ValueError(f"its format is {found}, this version reads {FORMAT}")
        if config["kind"] not in KINDS:
            raise ValueError(f"its kind '{config['kind']}' is unknown")
        if not isinstance(config["model"], str) or not isinstance(config["species"], list):
            raise TypeError("model or species have another type")
        members = config.get("members", {})
        if not isinstance(members, dict):
            raise TypeError("members have another type")
        if any(Path(name).name != name or name in ("", "..") for name in members):
            raise ValueError("a member's name is a path")
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise invalid_run(folder, error) from error
    return config


def read_run(folder: Path) -> Run:
    """Return the run in a folder; RunError as `read_config`, or if its scores or metrics are not valid."""
    config = read_config(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        test = Scores.load(folder / "test.npz") if (folder / "test.npz").exists() else None
        return Run(folder.name, config, metrics, Scores.load(folder / "oof.npz"), test)
    except (TypeError, ValueError, OSError) as error:
        raise invalid_run(folder, error) from error


def read_runs(results: Path) -> dict[str, Run]:
    """Return all current runs of a results folder by name, sorted: baselines, then members, then the blend.

    A blend whose members were trained again since is left out, as `is_outdated` tells.
    """
    runs = [read_run(results / name) for name in run_names(results)]
    order = [BASELINE, MEMBER, EXTERNAL, BLEND]
    current = [run for run in runs if not is_outdated(results, run.config)]
    return {run.name: run for run in sorted(current, key=lambda run: order.index(run.kind))}


def read_member(results: Path, name: str, dataset: Dataset) -> Run:
    """Return the run of a member, whose recordings and species must be those of `dataset`.

    Raises
    ------
    RunError
        There is no such run, or it belongs to another data set. The message names the remedy.
    """
    folder = results / name
    if not has_run(folder):
        raise RunError(f"{folder}: no complete run of {name}; {_remedy(name, MEMBER)}")
    run = read_run(folder)
    remedy = _remedy(name, run.kind)
    if run.test is None and dataset.test:
        raise RunError(f"{folder}: no test scores, but the data set has test recordings; {remedy}")
    for file, scores, recordings in (
        ("oof.npz", run.oof, dataset.train),
        ("test.npz", run.test, dataset.test),
    ):
        if scores is None:
            continue
        for what, found, expected in (
            ("recordings", scores.recording_id, list(recordings)),
            ("species", scores.species, list(dataset.species)),
        ):
            if list(found) != expected:
                raise RunError(f"{folder / file}: its {what} differ from those of the data set; {remedy}")
    return run


def _remedy(name: str, kind: str) -> str:
    if kind == EXTERNAL:
        return f"give its scores again with 'python pipelines/blend.py --scores {name}=FILE'"
    return f"run 'python pipelines/{name}.py' with the same --data and --results"


def scores_digest(results: Path, name: str) -> str:
    """Return a digest of a run's out-of-fold scores, by which a blend recognises its members."""
    return digest((results / name / "oof.npz").read_bytes())


def is_outdated(results: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a run is a blend one of whose members was trained again since."""
    return any(
        not has_run(results / name) or scores_digest(results, name) != recorded
        for name, recorded in config.get("members", {}).items()
    )


def invalid_run(folder: Path, error: Exception) -> RunError:
    """Return the error for a run folder that cannot be read because of `error`."""
    if isinstance(error, UserError):
        return RunError(str(error))
    reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
    return RunError(f"{folder}: not a valid run of this version ({reason}); train it again")


def median_bands(dataset: Dataset) -> np.ndarray:
    """Return (n_species, 2) the median f_min and f_max of each species' TP boxes, Hz.

    A species without a TP box gets the median of all boxes.
    """
    columns = ["f_min", "f_max"]
    by_species = dataset.tp.groupby("species_id")[columns].median()
    bands = by_species.reindex(range(dataset.n_species)).fillna(dataset.tp[columns].median())
    return bands.to_numpy(float)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect the scores."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
