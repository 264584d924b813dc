"""The member `mlp`: a small multi-layer perceptron on the columns of windows."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from features.columns.window_features import WindowFeatures
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from models.estimators.mlp import MLPClassifier
from pipelines.core.member import CrossFit, WindowScorer
from pipelines.core.task import Task
from pipelines.core.training_windows import TrainingWindows
from pipelines.members.networks import (
    Examples,
    add_network_flags,
    cross_fit_networks,
    load_networks,
    mean_score,
    save_networks,
)

N_NETWORKS = 3  # their mean varies less with the seed


@dataclass(frozen=True)
class MLPScorer(WindowScorer):
    """The columns of windows, and the networks whose mean scores windows by these columns."""

    features: WindowFeatures
    networks: tuple[MLPClassifier, ...]

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return self.features.transform(frames, starts, length)

    def inputs_digest(self) -> str:
        return self.features.digest

    def predict(self, X: np.ndarray) -> np.ndarray:
        return mean_score(self.networks, X)

    def save(self, folder: Path) -> None:
        self.features.save(folder)
        save_networks(self.networks, folder)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        features = WindowFeatures.load(folder, SpectralSettings(**config["spectral"]), len(config["species"]))
        columns = features.names()
        if config["columns"] != columns:
            raise ValueError("its columns and config.json differ")
        return cls(features, load_networks(MLPClassifier, folder, config, n_inputs=len(columns)))


class MLP:
    """Small perceptrons on the columns of windows; the score is the mean of three networks."""

    name = "mlp"
    scorer = MLPScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        add_network_flags(parser, MLPClassifier())

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        network = MLPClassifier(epochs=args.epochs, device=args.device)
        windows = TrainingWindows(task)
        folds = [windows.fold(k) for k in range(task.n_folds)]
        cross_fit, networks = cross_fit_networks(
            task,
            self.name,
            network,
            N_NETWORKS,
            examples=[Examples(fold.X, fold.Y) for fold in folds],
            whole=Examples(*windows.whole()),
            held=((fold.held, fold.X_held) for fold in folds),
        )
        self._scorer = MLPScorer(windows.features, networks)
        columns = {"columns": windows.features.names()}
        return replace(cross_fit, config={**cross_fit.config, **columns})

    def fit_final(self, task: Task, args: argparse.Namespace) -> MLPScorer:
        return self._scorer
