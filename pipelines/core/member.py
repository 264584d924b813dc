"""The interface between models and the rest of the code: `Member`, `WindowScorer` and the registry.

A member is a model that can be trained, blended and used by `predict`. The training recipe, the blend, the
report and the detector use a model only through the classes of this module.
"""

import argparse
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from features.columns.window_features import WindowFeatures
from features.frames.frames import Frames
from models.self_training import TrainingLabels

if TYPE_CHECKING:  # the detector uses this module without the command line that tasks need
    from pipelines.core.task import Task


class WindowScorer(ABC):
    """A trained model that scores windows.

    The same class scores test recordings in training and new recordings in `predict`. Scoring has two steps,
    `inputs` and `predict`. Training computes the inputs of each test recording and then calls `predict` once
    for all of them, because the batch size changes the last bits of a matrix product.
    """

    @abstractmethod
    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the model's inputs for the windows of a recording, shape (n_windows, ...).

        Parameters
        ----------
        frames : frames of the recording.
        starts : (n_windows,) first frame of each window.
        length : window length in frames.
        """

    @abstractmethod
    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return scores in [0, 1], shape (n_windows, n_species), for inputs of shape (n_windows, ...)."""

    def inputs_digest(self) -> str | None:
        """Return a digest of everything that affects `inputs` except its arguments.

        The detector computes inputs with the same digest once. Those of a scorer without a digest are not
        shared.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model to a folder, in file formats that cannot contain code."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """Return the model that `save` wrote.

        Parameters
        ----------
        folder : folder of the run.
        config : the run's config.json.

        Raises
        ------
        ValueError, KeyError, TypeError, OSError
            The files are not valid or do not belong together.
        """


@runtime_checkable
class ColumnScorer(Protocol):
    """A window scorer whose inputs are named columns and whose log odds are a sum over the columns.

    The report explains the decisions of such scorers.
    """

    features: WindowFeatures
    importance_meaning: str
    """Sentence for the report that explains what `importance` measures."""

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray: ...

    def importance(self) -> np.ndarray:
        """Return the share of each column in the decision on each species, shape (n_species, n_columns)."""

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        """Return what each column adds to the log odds of a species, shape (n_windows, n_columns)."""


@dataclass(frozen=True)
class CrossFit:
    """Out-of-fold result of a member.

    Attributes
    ----------
    scores : (n_windows, n_species) scores of the training windows, each from a model that was fitted without
        the window's fold.
    seconds : time of fitting and scoring, without the search for parameters.
    config : entries for the run's config.json.
    metrics : entries for the run's metrics.json.
    note : text for the user, printed after the leaderboard.
    """

    scores: np.ndarray
    seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class Member(Protocol):
    """A model that can be trained, blended and used by `predict`.

    Attributes
    ----------
    name : name of the model, of its run folder and of its command `pipelines/<name>.py`.
    scorer : class that loads the trained model.
    """

    name: str

    @property
    def scorer(self) -> type[WindowScorer]: ...

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags of this member to the parser of its command."""

    def cross_fit(self, task: "Task", args: argparse.Namespace) -> CrossFit:
        """Return the out-of-fold scores of the training windows."""

    def fit_final(self, task: "Task", args: argparse.Namespace) -> WindowScorer:
        """Return the model for new recordings.

        It is called after `cross_fit` on the same object, so it can use parameters that `cross_fit` selected.
        """


@runtime_checkable
class SelfTrainingMember(Member, Protocol):
    """A member whose scores can become labels for its next fit.

    Both methods are called after `cross_fit` on the same object.
    """

    def teach(self, task: "Task") -> Iterator[np.ndarray]:
        """Yield, for each fold, scores of all windows, (n_windows, n_species), from the model of the fold.

        They are those of the latest fit. Windows that are not scored have score 0.
        """

    def refit(self, task: "Task", args: argparse.Namespace, labels: TrainingLabels, number: int) -> CrossFit:
        """Return what `cross_fit` returns, with the same parameters and other labels.

        Parameters
        ----------
        labels : labels to fit the models with; `fit_final` uses them, too.
        number : number of the round, from 1.
        """


def registered_members() -> dict[str, str]:
    """Return the registry, `pipelines.members.MEMBERS`: name of a member -> "module:class"."""
    # Members import this module. Importing them here at run time avoids an import cycle.
    return importlib.import_module("pipelines.members").MEMBERS


def member_class(name: str) -> type[Member]:
    """Return the class of a registered member.

    Raises
    ------
    KeyError
        No member of this name is registered.
    """
    module, _, attribute = registered_members()[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
