"""Members that are networks: parallel fitting, checkpoints, and one network per fold on spectrograms."""

import argparse
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from features.common.parallel import on_cluster, on_workers
from features.frames.frames import Frames
from models.estimators.network import DEVICES, VERSION, NetworkClassifier, resolve_device
from models.estimators.pretraining import read_encoder
from models.estimators.weights import Encoder
from models.self_training import TrainingLabels
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

    def inputs_digest(self) -> str:
        return "sequences"

    def predict(self, X: np.ndarray) -> np.ndarray:
        return mean_score(self.networks, X)

    def save(self, folder: Path) -> None:
        for k, network in enumerate(self.networks):
            network.save(_network_file(folder, k))

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        networks = tuple(cls.classifier.load(_network_file(folder, k)) for k in range(config["folds"]))
        expected = (config["spectral"]["n_mels"], len(config["species"]))
        if {(network.n_inputs_, network.n_species_) for network in networks} != {expected}:
            raise ValueError("its networks and config.json differ in the number of bands or species")
        return cls(networks)


def mean_score(networks: Iterable[NetworkClassifier], X: np.ndarray) -> np.ndarray:
    """Return the mean score of networks, (n_windows, n_species)."""
    with one_torch_thread():
        P = [network.predict_proba(X) for network in networks]
    return np.stack(P).mean(axis=0, dtype=np.float64)


class NetworkMember(ABC):
    """A member with one network per fold; a subclass has the name, the scorer and the kind of network."""

    name: str
    scorer: type[NetworkScorer]

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        add_network_flags(parser, self.scorer.classifier())
        parser.add_argument(
            "--pretrained",
            type=Path,
            metavar="FILE",
            help="encoder of pretrain.py to start training from",
        )

    @abstractmethod
    def network(self, args: argparse.Namespace) -> NetworkClassifier:
        """Return the network to fit."""

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        self._encoder = None
        if args.pretrained is not None:
            n_bands = task.store.settings.n_mels
            self._encoder = read_encoder(args.pretrained, self.network(args), n_bands)
        self._X = task.share(task.compute_all(self.scorer(()).inputs, "sequences"))
        return self.refit(task, args, TrainingLabels.of(task.labels, task.n_folds))

    def refit(
        self, task: Task, args: argparse.Namespace, labels: TrainingLabels, number: int = 0
    ) -> CrossFit:
        network, X = self.network(args), self._X
        fold, folder = task.fold_of_window, checkpoint_folder(task, self.name, number)
        fits = [
            Fit(
                seeded(network, task.seed + k),
                _network_file(folder, k),
                X=X,
                Y=task.share(Y),
                rows=(fold != k) & (task.used | ~np.isnan(Y).all(axis=1)),
                encoder=self._encoder,
            )
            for k, Y in enumerate(labels.outside)
        ]
        pretrained = self._encoder and self._encoder.digest()
        state = digest(
            *(network.get_params(), pretrained, X, *labels.outside),
            *(task.used, task.fold, task.seed),
        )
        self._networks = fit_networks(fits, state, task.jobs)
        P = np.zeros(((fold >= 0).sum(), task.dataset.n_species))
        with one_torch_thread():
            for k, fitted in enumerate(self._networks):
                held = np.flatnonzero(fold == k)
                P[held] = fitted.predict_proba(X[held])
        return CrossFit(
            scores=P,
            seconds=sum(fitted.seconds_ for fitted in self._networks),
            config={"params": network.get_params(), "pretrained": pretrained},
            metrics={"loss": [fitted.history_ for fitted in self._networks]},
        )

    def teach(self, task: Task) -> Iterator[np.ndarray]:
        for network in self._networks:
            yield mean_score([network], self._X)

    def fit_final(self, task: Task, args: argparse.Namespace) -> NetworkScorer:
        return self.scorer(tuple(self._networks))


def add_network_flags(parser: argparse.ArgumentParser, defaults: NetworkClassifier) -> None:
    """Add the flags of all networks to the parser of a command."""
    parser.add_argument("--epochs", type=positive, default=defaults.epochs, help="number of epochs")
    parser.add_argument(
        "--device",
        type=available_device,
        choices=DEVICES,
        default=defaults.device,
        help="device to train on",
    )


def available_device(text: str) -> str:
    """Return a flag's value, which must be a device that exists."""
    if text in DEVICES:
        try:
            resolve_device(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def checkpoint_folder(task: Task, name: str, number: int) -> Path:
    """Return the folder of the networks that a member has fitted so far in a round of self-training."""
    folder = task.results / "checkpoints" / name
    return folder / f"round{number}" if number else folder


def seeded(network: NetworkClassifier, seed: int) -> NetworkClassifier:
    """Return an unfitted network with the same parameters and another random seed."""
    return type(network)(**{**network.get_params(), "random_state": seed})


@dataclass(frozen=True)
class Fit:
    """A network to fit.

    Attributes
    ----------
    network : the unfitted network.
    file : file of the fitted network; its name is shown with the progress.
    X : (n_windows, ...) inputs of windows.
    Y : (n_windows, n_species) labels from 0 to 1, or nan for unknown.
    rows : (n_windows,) mask of the windows to fit the network on; None for all.
    encoder : pre-trained weights, from which training starts.
    """

    network: NetworkClassifier
    file: Path
    X: np.ndarray
    Y: np.ndarray
    rows: np.ndarray | None = None
    encoder: Encoder | None = None


def fit_networks(fits: Sequence[Fit], state: str, n_jobs: int) -> list[NetworkClassifier]:
    """Return the fitted networks.

    Each network is stored as soon as it is fitted, so a repeated command only fits the missing ones.

    Parameters
    ----------
    fits : networks to fit, whose files are in one folder.
    state : digest of everything that affects the networks. Files of another state are removed.
    n_jobs : number of processes on a CPU, without a cluster. On a GPU, networks are fitted one by one.
    """
    folder, state = fits[0].file.parent, digest(VERSION, state)
    settings = folder / "settings.json"
    if not settings.exists() or state not in settings.read_text(encoding="utf-8"):
        for stale in folder.glob("*.pt"):
            stale.unlink()
        write_json(settings, {"digest": state})
    missing = [fit for fit in fits if not fit.file.exists()]
    if on_cluster():
        done = on_workers(_fit_alone, ((fit,) for fit in missing), n_jobs)
        for _ in tqdm(done, "networks", len(missing), unit="network"):
            pass
    else:
        _fit_in_processes(missing, n_jobs)
    return [type(fit.network).load(fit.file) for fit in fits]


def _fit_in_processes(fits: Sequence[Fit], n_jobs: int) -> None:
    """Fit networks in parallel on this machine, because threads of one process wait for each other."""
    # After Ctrl-C, Python's resource tracker frees shared memory and warns about it. Hide the warning.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    on_gpu = any(resolve_device(fit.network.device).type == "cuda" for fit in fits)
    joblib.Parallel(n_jobs=1 if on_gpu else n_jobs)(
        joblib.delayed(_fit_with_progress)(fit, position=k, command=os.getpid()) for k, fit in enumerate(fits)
    )


def _fit_with_progress(fit: Fit, *, position: int, command: int) -> None:
    """Fit a network, store it, and show the progress.

    Parameters
    ----------
    position : line of the progress bar.
    command : process id of the command, which is this process or its parent.
    """
    is_child = os.getpid() != command
    if is_child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command handles Ctrl-C
    with tqdm(desc=fit.file.stem, total=fit.network.epochs, unit="epoch", position=position) as progress:

        def show(loss: float) -> None:
            if is_child and os.getppid() != command:
                os._exit(1)  # the command was killed; stop, so that a new one does not write the same files
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}")

        _fit(fit, show)


def _fit_alone(fit: Fit) -> None:
    """Fit a network and store it, while no other thread of this process does.

    The threads of a worker of a cluster share the random number generator of torch.
    """
    with _threads.fitting:
        _fit(fit)


def _fit(fit: Fit, on_epoch: Callable[[float], None] | None = None) -> None:
    """Fit a network and store it; `on_epoch` is called with the loss after each epoch."""
    rows = np.ones(len(fit.Y), bool) if fit.rows is None else fit.rows
    with one_torch_thread():
        fit.network.fit(fit.X[rows], fit.Y[rows], on_epoch=on_epoch, encoder=fit.encoder)
    fit.network.save(fit.file)


def _network_file(folder: Path, k: int) -> Path:
    return folder / f"fold{k}.pt"


@contextmanager
def one_torch_thread() -> Iterator[None]:
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
    """State that the threads of a process share: of `one_torch_thread`, and a lock of `_fit_alone`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fitting = threading.Lock()
        self.n_blocks = 0
        self.before = 1


_threads = _Threads()
