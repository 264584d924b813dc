"""Members that are the mean of networks: parallel fitting, checkpoints, and members on spectrograms."""

import argparse
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

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
    """The mean of networks on spectrograms; a subclass has the class of the networks."""

    classifier: ClassVar[type[NetworkClassifier]]

    networks: tuple[NetworkClassifier, ...]

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return window_sequences(frames, starts, length)

    def inputs_digest(self) -> str:
        return "sequences"

    def predict(self, X: np.ndarray) -> np.ndarray:
        return mean_score(self.networks, X)

    def save(self, folder: Path) -> None:
        save_networks(self.networks, folder)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        return cls(load_networks(cls.classifier, folder, config, n_inputs=config["spectral"]["n_mels"]))


class NetworkMember(ABC):
    """A member that is the mean of networks on spectrograms; a subclass has the kind and the number."""

    name: str
    scorer: type[NetworkScorer]
    n_networks: int

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        add_network_flags(parser, self.scorer.classifier())

    @abstractmethod
    def network(self, args: argparse.Namespace) -> NetworkClassifier:
        """Return the network to fit."""

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        X, Y = task.compute("train", window_sequences, "sequences"), task.labels
        fold = task.per_window(task.fold)
        numbers = range(task.n_folds)
        cross_fit, networks = cross_fit_networks(
            task,
            self.name,
            self.network(args),
            self.n_networks,
            examples=[Examples(X, Y, fold != k) for k in numbers],
            whole=Examples(X, Y),
            held=((np.flatnonzero(fold == k), X[fold == k]) for k in numbers),
        )
        self._scorer = self.scorer(networks)
        return cross_fit

    def fit_final(self, task: Task, args: argparse.Namespace) -> NetworkScorer:
        return self._scorer


def mean_score(networks: Iterable[NetworkClassifier], X: np.ndarray) -> np.ndarray:
    """Return the mean score of networks, (n_windows, n_species)."""
    with one_torch_thread():
        P = [network.predict_proba(X) for network in networks]
    return np.stack(P).mean(axis=0, dtype=np.float64)


def save_networks(networks: Sequence[NetworkClassifier], folder: Path) -> None:
    """Write networks to a folder; `load_networks` reads them."""
    for k, network in enumerate(networks):
        network.save(folder / f"network{k}.pt")


def load_networks(
    classifier: type[NetworkClassifier], folder: Path, config: Mapping[str, Any], *, n_inputs: int
) -> tuple[NetworkClassifier, ...]:
    """Return the networks that `save_networks` wrote.

    Parameters
    ----------
    classifier : class of the networks.
    folder : folder of the run.
    config : the run's config.json.
    n_inputs : number of bands or columns that the networks must have.

    Raises
    ------
    ValueError, UserError
        The files are missing or not valid, or do not belong to the run.
    """
    networks = tuple(classifier.load(folder / f"network{k}.pt") for k in range(config["n_networks"]))
    sizes = {(network.n_inputs_, network.n_species_) for network in networks}
    if sizes != {(n_inputs, len(config["species"]))}:
        raise ValueError("its networks and config.json differ in the number of bands, columns or species")
    return networks


def add_network_flags(parser: argparse.ArgumentParser, defaults: NetworkClassifier) -> None:
    """Add the flags of all networks to the parser of a command."""
    parser.add_argument("--epochs", type=positive, default=defaults.epochs, help="number of epochs")
    parser.add_argument(
        "--device",
        type=_available_device,
        choices=DEVICES,
        default=defaults.device,
        help="device to train on",
    )


def _available_device(text: str) -> str:
    """Return a flag's value, which must be a device that exists."""
    if text in DEVICES:
        try:
            resolve_device(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


class Examples(NamedTuple):
    """Training examples of a network.

    Attributes
    ----------
    X : (n_windows, ...) inputs of windows.
    Y : (n_windows, n_species) labels of 1, 0 and nan.
    rows : (n_windows,) mask of the windows to fit the network on; None for all.
    """

    X: np.ndarray
    Y: np.ndarray
    rows: np.ndarray | None = None


def cross_fit_networks(
    task: Task,
    member: str,
    network: NetworkClassifier,
    n_networks: int,
    *,
    examples: Sequence[Examples],
    whole: Examples,
    held: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[CrossFit, tuple[NetworkClassifier, ...]]:
    """Return the mean out-of-fold scores of networks, and the networks for new recordings.

    The networks of all folds and those for new recordings are fitted in parallel. Each is stored as soon as
    it is fitted, so a repeated command only fits the missing ones.

    Parameters
    ----------
    task : the task.
    member : name of the member.
    network : the network to fit. Its random seed is replaced by that of the task, plus 0, 1, ...
    n_networks : number of networks per fold, and for new recordings.
    examples : training examples of each fold.
    whole : training examples of all folds together.
    held : for each fold, the indices of the held-out windows among all windows, and their inputs.
    """
    seeds = range(task.seed, task.seed + n_networks)
    state = digest(VERSION, network.get_params(), task.seed, *_arrays([*examples, whole]))
    folder = _checkpoint_folder(task.results / "checkpoints" / member, state)
    fits = [
        (type(network)(**{**network.get_params(), "random_state": seed}), of, folder / f"{name}_{seed}.pt")
        for name, of in [*((f"fold{k}", of) for k, of in enumerate(examples)), ("whole", whole)]
        for seed in seeds
    ]
    fitted = _fit_all(fits, task.jobs)
    *of_fold, final = (tuple(fitted[k : k + n_networks]) for k in range(0, len(fitted), n_networks))
    P = np.zeros(task.labels.shape)
    for networks, (rows, X) in zip(of_fold, held, strict=True):
        P[rows] = mean_score(networks, X)
    return CrossFit(
        scores=P,
        seconds=sum(each.seconds_ for each in fitted[:-n_networks]),
        config={"params": network.get_params(), "n_networks": n_networks},
        metrics={"loss": [each.history_ for each in fitted]},
    ), final


def _arrays(examples: Iterable[Examples]) -> Iterator[np.ndarray]:
    """Yield the arrays of the examples, each array once."""
    arrays = (array for of in examples for array in of if array is not None)
    yield from {id(array): array for array in arrays}.values()


def _checkpoint_folder(folder: Path, state: str) -> Path:
    """Return the folder for the networks of a state; networks of another state are removed from it.

    Parameters
    ----------
    state : digest of everything that affects the networks.
    """
    settings = folder / "settings.json"
    if not settings.exists() or state not in settings.read_text(encoding="utf-8"):
        for stale in folder.glob("*.pt"):
            stale.unlink()
        write_json(settings, {"digest": state})
    return folder


def _fit_all(
    fits: Sequence[tuple[NetworkClassifier, Examples, Path]], n_jobs: int
) -> list[NetworkClassifier]:
    """Return the fitted networks.

    Parameters
    ----------
    fits : networks to fit, their examples, and the files to store them in.
    n_jobs : number of processes on a CPU. On a GPU, networks are fitted one by one.
    """
    # After Ctrl-C, Python's resource tracker frees shared memory and warns about it. Hide the warning.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    on_gpu = resolve_device(fits[0][0].device).type == "cuda"
    joblib.Parallel(n_jobs=1 if on_gpu else n_jobs)(
        joblib.delayed(_fit)(network, examples, file, position=k, command=os.getpid())
        for k, (network, examples, file) in enumerate(fits)
        if not file.exists()
    )
    return [type(network).load(file) for network, _, file in fits]


def _fit(network: NetworkClassifier, examples: Examples, file: Path, *, position: int, command: int) -> None:
    """Fit a network and store it.

    Parameters
    ----------
    position : line of the progress bar.
    command : process id of the command, which is this process or its parent.
    """
    is_child = os.getpid() != command
    if is_child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command handles Ctrl-C
    with (
        one_torch_thread(),
        tqdm(desc=file.stem, total=network.epochs, unit="epoch", position=position) as progress,
    ):

        def show(loss: float) -> None:
            if is_child and os.getppid() != command:
                os._exit(1)  # the command was killed; stop, so that a new one does not write the same files
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}")

        X, Y, rows = examples
        if rows is not None:
            X, Y = X[rows], Y[rows]
        network.fit(X, Y, on_epoch=show)
    network.save(file)


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
    """State of `one_torch_thread`, shared by the threads of a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_blocks = 0
        self.before = 1


_threads = _Threads()
