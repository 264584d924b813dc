"""The member `mlp`: a small multi-layer perceptron on the columns of windows."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from features.columns.window_features import WindowFeatures
from features.common.files import digest
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from models.estimators.mlp import MLPClassifier
from models.self_training import TrainingLabels
from pipelines.core.member import CrossFit, WindowScorer
from pipelines.core.task import Task
from pipelines.core.training_windows import TrainingWindows
from pipelines.members.networks import (
    Fit,
    add_network_flags,
    checkpoint_folder,
    fit_networks,
    mean_score,
    seeded,
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
        for seed, network in enumerate(self.networks):
            network.save(folder / f"network{seed}.pt")

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        n_species = len(config["species"])
        features = WindowFeatures.load(folder, SpectralSettings(**config["spectral"]), n_species)
        networks = tuple(MLPClassifier.load(folder / f"network{seed}.pt") for seed in range(N_NETWORKS))
        columns = features.names()
        sizes = {(network.n_inputs_, network.n_species_) for network in networks}
        if sizes != {(len(columns), n_species)} or config["columns"] != columns:
            raise ValueError("its files have different columns or species")
        return cls(features, networks)


class MLP:
    """Small perceptrons on the columns of windows; the score is the mean of three networks."""

    name = "mlp"
    scorer = MLPScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        add_network_flags(parser, MLPClassifier())

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        self._windows = TrainingWindows(task)
        return self.refit(task, args, TrainingLabels.of(task.labels, task.n_folds))

    def refit(
        self, task: Task, args: argparse.Namespace, labels: TrainingLabels, number: int = 0
    ) -> CrossFit:
        network = MLPClassifier(epochs=args.epochs, device=args.device)
        windows = self._windows
        folds = [windows.fold(k, Y) for k, Y in enumerate(labels.outside)]
        # The networks for new recordings are fitted here too, so that all are fitted in parallel.
        examples = {f"fold{k}": (fold.X, fold.Y) for k, fold in enumerate(folds)}
        examples["whole"] = windows.whole(labels.whole)
        folder = checkpoint_folder(task, self.name, number)
        fits = [
            Fit(seeded(network, task.seed + seed), folder / f"{name}_{seed}.pt", X=X, Y=Y)
            for name, (X, Y) in examples.items()
            for seed in range(N_NETWORKS)
        ]
        state = digest(network.get_params(), *(a for pair in examples.values() for a in pair), task.seed)
        fitted = fit_networks(fits, state, task.jobs)
        *of_fold, whole = (fitted[first : first + N_NETWORKS] for first in range(0, len(fitted), N_NETWORKS))
        self._networks = of_fold
        self._scorer = MLPScorer(windows.features, tuple(whole))
        P = np.zeros((sum(len(fold.held) for fold in folds), task.dataset.n_species))
        for fold, networks in zip(folds, of_fold, strict=True):
            P[fold.held] = mean_score(networks, fold.X_held)
        return CrossFit(
            scores=P,
            seconds=sum(network.seconds_ for network in fitted[:-N_NETWORKS]),
            config={"params": network.get_params(), "columns": windows.features.names()},
            metrics={"loss": [network.history_ for network in fitted]},
        )

    def teach(self, task: Task) -> Iterator[np.ndarray]:
        for k, networks in enumerate(self._networks):
            taught, P = self._windows.to_teach(k), np.zeros(task.labels.shape)
            P[taught] = mean_score(networks, self._windows.columns(k, taught))
            yield P

    def fit_final(self, task: Task, args: argparse.Namespace) -> MLPScorer:
        return self._scorer
