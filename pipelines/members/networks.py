"""Members that are networks on window spectrograms: training of one network per fold, and checkpoints."""

import argparse
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import joblib
import numpy as np
import torch
from tqdm import tqdm

from features.columns.sequences import window_sequences
from features.common.errors import UserError
from features.common.files import digest, write_json
from features.frames.frames import Frames
from models.estimators.network import DEVICES, VERSION, NetworkClassifier, resolve_device
from pipelines.core.cli import positive
from pipelines.core.member import CrossFit, WindowScorer
from pipelines.core.task import Task


@dataclass(frozen=True)
class NetworkScorer(WindowScorer):
    """The mean of the networks of all folds; a subclass has the class of the networks."""

    classifier: ClassVar[type[NetworkClassifier]]

    networks: tuple[NetworkClassifier, ...]

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return window_sequences(frames, starts, length)

    def predict(self, X: np.ndarray) -> np.ndarray:
        with _one_torch_thread():
            P = [network.predict_proba(X) for network in self.networks]
        return np.stack(P).mean(axis=0, dtype=np.float64)

    def save(self, folder: Path) -> None:
        for k, network in enumerate(self.networks):
            network.save(_network_file(folder, k))

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        networks = tuple(cls.classifier.load(_network_file(folder, k)) for k in range(config["folds"]))
        expected = (config["spectral"]["n_mels"], len(config["species"]))
        if {(network.n_bands_, network.n_species_) for network in networks} != {expected}:
            raise ValueError("its networks and config.json differ in the number of bands or species")
        return cls(networks)


class NetworkMember(ABC):
    """A member with one network per fold; a subclass has the name, the scorer and the kind of network."""

    name: str
    scorer: type[NetworkScorer]

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        defaults = self.scorer.classifier()
        parser.add_argument("--epochs", type=positive, default=defaults.epochs, help="number of epochs")
        parser.add_argument(
            "--device",
            type=_available_device,
            choices=DEVICES,
            default=defaults.device,
            help="device to train on",
        )

    @abstractmethod
    def network(self, args: argparse.Namespace) -> NetworkClassifier:
        """Return the network to fit."""

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        network = self.network(args)
        X, Y = task.compute("train", window_sequences, "sequences"), task.labels
        self._networks = fit_folds(task, network, folder=task.results / "checkpoints" / self.name, X=X, Y=Y)
        fold = task.per_window(task.fold)
        P = np.zeros(Y.shape)
        with _one_torch_thread():
            for k, fitted in enumerate(self._networks):
                P[fold == k] = fitted.predict_proba(X[fold == k])
        return CrossFit(
            scores=P,
            seconds=sum(fitted.seconds_ for fitted in self._networks),
            config={"params": network.get_params()},
            metrics={"loss": [fitted.history_ for fitted in self._networks]},
        )

    def fit_final(self, task: Task, args: argparse.Namespace) -> NetworkScorer:
        return self.scorer(tuple(self._networks))


def _available_device(text: str) -> str:
    """Return a flag's value, which must be a device that exists."""
    if text in DEVICES:
        try:
            resolve_device(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def fit_folds(
    task: Task, network: NetworkClassifier, *, folder: Path, X: np.ndarray, Y: np.ndarray
) -> list[NetworkClassifier]:
    """Return one network per fold, which is fitted on the windows outside the fold.

    Each network is stored as soon as it is fitted, so a repeated command only fits the missing ones.

    Parameters
    ----------
    folder : folder of the stored networks.
    X : (n_windows, n_steps, n_mels) inputs.
    Y : (n_windows, n_species) labels of 1, 0 and nan.
    """
    state = digest(VERSION, network.get_params(), X, Y, task.fold, task.seed)
    settings = folder / "settings.json"
    if not settings.exists() or state not in settings.read_text(encoding="utf-8"):
        for stale in folder.glob("*.pt"):
            stale.unlink()
        write_json(settings, {"digest": state})
    files = [_network_file(folder, k) for k in range(task.n_folds)]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    # After Ctrl-C, Python's resource tracker frees shared memory and warns about it. Hide the warning.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    # On a CPU, folds are fitted in parallel processes. On a GPU, they are fitted one by one.
    on_gpu = resolve_device(network.device).type == "cuda"
    joblib.Parallel(n_jobs=1 if on_gpu else task.jobs)(
        joblib.delayed(_fit_fold)(task, network, _network_file(folder, k), X=X, Y=Y, k=k, command=os.getpid())
        for k in missing
    )
    return [type(network).load(file) for file in files]


def _fit_fold(
    task: Task, network: NetworkClassifier, file: Path, *, X: np.ndarray, Y: np.ndarray, k: int, command: int
) -> None:
    """Fit a network on the windows outside fold `k` and store it.

    Parameters
    ----------
    file : file of the fitted network.
    command : process id of the command, which is this process or its parent.
    """
    is_child = os.getpid() != command
    if is_child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command handles Ctrl-C
    rows = task.per_window(task.fold) != k
    fitted = type(network)(**{**network.get_params(), "random_state": task.seed + k})
    with (
        _one_torch_thread(),
        tqdm(desc=f"fold {k}", total=network.epochs, unit="epoch", position=k) as progress,
    ):

        def show(loss: float) -> None:
            if is_child and os.getppid() != command:
                os._exit(1)  # the command was killed; stop, so that a new one does not write the same files
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}")

        fitted.fit(X[rows], Y[rows], on_epoch=show)
    fitted.save(file)


def _network_file(folder: Path, k: int) -> Path:
    return folder / f"fold{k}.pt"


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread, and restore the number of threads when the last such block ends.

    Folds and recordings are processed in parallel, and the last bits of a matrix product depend on the number
    of threads.
    """
    with _threads.lock:
        if _threads.n_blocks == 0:
            _threads.before = torch.get_num_threads()
        _threads.n_blocks += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _threads.lock:
            _threads.n_blocks -= 1
            if _threads.n_blocks == 0:
                torch.set_num_threads(_threads.before)


class _Threads:
    """State of `_one_torch_thread`, shared by the threads of a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_blocks = 0
        self.before = 1


_threads = _Threads()
