"""Networks on windows: training, scoring and storage, which all kinds of networks share."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from features.common.errors import UserError
from models.estimators.column_moments import moments
from models.estimators.labels import check_labels, multilabel_tags
from models.estimators.one_cycle import OneCycle
from models.estimators.weights import Encoder, read_weights, short_reason, write_weights
from models.estimators.window_net import WindowNet

DEVICES = ("auto", "cpu", "cuda")
PREDICT_BATCH = 512  # number of windows scored together
MIN_BATCH_SIZE = 16  # of batches that are smaller because there are few windows
CALL_WINDOW_WEIGHT = 0.5  # of an unknown label in a window with a call of another species
VERSION = 7  # increase it when the same parameters and data give a different network


@dataclass(kw_only=True, eq=False, repr=False)  # scikit-learn derives the parameters from its `__init__`
class NetworkClassifier(BaseEstimator, ABC):
    """A network for multi-label classification of windows; labels may be unknown.

    A subclass is a dataclass too; its fields are its further parameters. It creates the network, and it can
    augment batches.

    Parameters
    ----------
    epochs : int
        Number of epochs.
    batch_size : int
        Number of windows per batch. With few windows, see `min_batches`.
    min_batches : int
        Minimum number of batches per epoch. If there are fewer windows than `min_batches` * `batch_size`,
        batches are smaller, but have at least 16 windows (or `batch_size`, if that is less).
    learning_rate : float
        Maximum of the one-cycle schedule, see `OneCycle`.
    weight_decay : float
        Weight decay of AdamW.
    dropout : float
        Dropout probability.
    weak_negative_weight : float
        Weight of an unknown label, which counts as a negative, in a window without a known call. In a window
        with a call of another species the weight is higher, which separates species from each other.
    device : {"auto", "cpu", "cuda"}
        "auto" uses CUDA if available.
    random_state : int
        Random seed of weights, batches and augmentation.

    Attributes
    ----------
    net_ : WindowNet
        The fitted network.
    n_inputs_, n_species_ : int
        Numbers of bands or columns, and of species.
    n_windows_ : int
        Number of windows per epoch.
    history_ : list of float
        Mean training loss of each epoch.
    seconds_ : float
        Duration of the fit, s.

    Notes
    -----
    An epoch contains all windows with a known label, and the same number of windows without one, which are
    drawn at random for each epoch. There are many windows without a known label, and each of them contributes
    little information.

    There is no early stopping, because it needs held-out recordings. With about twenty positives per species,
    these are more useful for training. The one-cycle schedule ends with a learning rate near 0, so the last
    epochs change the network only a little.
    """

    epochs: int = 24
    batch_size: int = 64
    min_batches: int = 1
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    dropout: float = 0.3
    weak_negative_weight: float = 0.1
    device: str = "auto"
    random_state: int = 0

    @abstractmethod
    def make_net(self, mean: Tensor, std: Tensor, base_rate: Tensor) -> WindowNet:
        """Return a network with random weights.

        Parameters
        ----------
        mean, std : (n_inputs,) mean and standard deviation that normalise the input.
        base_rate : (n_species,) fraction of windows with each species.
        """

    def net_for(self, X: np.ndarray, base_rate: Tensor) -> WindowNet:
        """Return a network with random weights that normalises by the moments of X, (n_windows, ...)."""
        mean, variance = moments(X.reshape(-1, X.shape[-1]))
        std = np.sqrt(np.maximum(variance, 1e-6))  # a silent band has variance 0
        return self.make_net(
            torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32), base_rate
        )

    @abstractmethod
    def validate_weights(self, state: Mapping[str, Tensor]) -> None:
        """Raise an error if stored weights do not fit the parameters, before a network is created."""

    def augment(self, x: Tensor, y: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of a batch after augmentation; without it here.

        Parameters
        ----------
        x : (batch, ..., n_inputs) normalised inputs.
        y : (batch, n_species) labels from 0 to 1, or nan for unknown.
        generator : random number generator on the device of x.
        """
        return x, y

    def fit(
        self,
        X: np.ndarray,
        Y: np.ndarray,
        on_epoch: Callable[[float], None] | None = None,
        encoder: Encoder | None = None,
    ) -> Self:
        """Return the fitted estimator.

        Parameters
        ----------
        X : (n_windows, n_steps, n_bands) frames or (n_windows, n_columns) columns of each window.
        Y : (n_windows, n_species) labels from 0 to 1, or nan for unknown.
        on_epoch : function that is called after each epoch with the mean training loss of this epoch.
        encoder : pre-trained weights of all layers but the last, from which training starts.

        Raises
        ------
        UserError
            No label is known, the loss is not finite, or the device is not available.
        """
        started = time.perf_counter()
        # Batch normalisation needs two windows.
        X = validate_data(self, X, dtype=(np.float16, np.float32), allow_nd=True, ensure_min_samples=2)
        Y = check_labels(Y, len(X))
        device = resolve_device(self.device)
        generator = torch.Generator(device).manual_seed(self.random_state)
        torch.manual_seed(self.random_state)

        is_known = ~np.isnan(Y).all(axis=1)
        if not is_known.any():
            raise UserError(f"none of the {len(Y)} training windows has a known label; add TP or FP boxes")
        self.n_inputs_, self.n_species_ = X.shape[-1], Y.shape[1]
        self.net_ = self.net_for(X, _base_rate(Y, self.weak_negative_weight))
        if encoder is not None:
            self.net_.load_encoder(encoder.state)
        self.net_.to(device)
        # All windows are copied to the device once, so that a batch only needs indexing.
        data = torch.from_numpy(X).to(device)
        labels = torch.from_numpy(Y.astype(np.float32)).to(device)
        known = torch.from_numpy(is_known).to(device)
        self.n_windows_ = min(2 * int(is_known.sum()), len(Y))
        batch_size = min(self.batch_size, max(self.n_windows_ // self.min_batches, MIN_BATCH_SIZE))
        steps = -(-self.n_windows_ // batch_size)

        optimiser = OneCycle(
            self.net_,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            n_steps=steps * self.epochs,
            device=device,
        )
        self.net_.train()
        self.history_ = []
        for _ in range(self.epochs):
            losses = []
            for rows in _epoch_batches(known, self.n_windows_, batch_size, generator=generator):
                x, y = self.augment(self.net_.normalise(data[rows]), labels[rows], generator=generator)
                with optimiser.half_precision():
                    logits = self.net_(x)
                loss = weak_bce(logits.float(), y, self.weak_negative_weight)
                optimiser.step(loss)
                losses.append(loss.detach())
            self.history_.append(float(torch.stack(losses).mean()))
            if not np.isfinite(self.history_[-1]):
                raise UserError(
                    f"the loss is {self.history_[-1]} in epoch {len(self.history_)}; use a learning rate "
                    f"below {self.learning_rate:g}"
                )
            if on_epoch is not None:
                on_epoch(self.history_[-1])
        self.net_.cpu()
        self.seconds_ = time.perf_counter() - started
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each species in each window, (n_windows, n_species)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float16, np.float32), allow_nd=True, reset=False)
        device = resolve_device(self.device)
        net = self.net_.eval()
        if net.mean.device.type != device.type:
            # Only moved if the device differs: `to` replaces the weights even on the same device, while
            # another thread may be using them.
            net.to(device)
        with torch.inference_mode():
            batches = (X[first : first + PREDICT_BATCH] for first in range(0, len(X), PREDICT_BATCH))
            parts = [net(net.normalise(torch.tensor(x, device=device))).sigmoid().cpu() for x in batches]
        return torch.cat(parts).numpy()

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__())

    def save(self, file: Path) -> None:
        """Write the weights and parameters to a file; `load` reads it without executing code."""
        check_is_fitted(self)
        write_weights(
            file,
            {
                "params": self.get_params(),
                "state": self.net_.state_dict(),
                "history": self.history_,
                "seconds": self.seconds_,
            },
        )

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the model that `save` wrote.

        Raises
        ------
        UserError
            The file is missing or not valid, or the device is not available.
        """
        try:
            stored = read_weights(file)
            parameters, state = stored["params"], stored["state"]
            if parameters["device"] != "cpu":
                parameters["device"] = "auto"  # it may have been trained on a GPU that this machine lacks
            model = cls(**parameters)
            model.validate_weights(state)
            base_rate = torch.full((len(state["heads.bias"]) // 2,), 0.5)
            model.net_ = model.make_net(state["mean"], state["std"], base_rate)
            model.net_.load_state_dict(state)
            model.n_inputs_, model.n_species_ = len(state["mean"]), len(state["heads.bias"]) // 2
            model.history_ = stored["history"]
            model.seconds_ = stored["seconds"]
        except Exception as error:  # its type depends on which part of the file is not valid
            raise UserError(
                f"{file}: not a valid network of this version ({short_reason(error)}); remove the file and "
                f"retrain"
            ) from error
        model.net_.to(resolve_device(model.device)).eval()
        return model


def weak_bce(logits: Tensor, labels: Tensor, weak_negative_weight: float) -> Tensor:
    """Return the binary cross-entropy per window, with unknown labels as negatives of lower weight.

    Parameters
    ----------
    logits : (batch, n_species) log odds.
    labels : (batch, n_species) labels from 0 to 1, or nan for unknown.
    weak_negative_weight : weight of an unknown label in a window without a known call. In a window with one,
        the weight is at least `CALL_WINDOW_WEIGHT`. A soft label is a call with its probability.

    Returns
    -------
    scalar Tensor
        The loss is summed over species and averaged over the batch.
    """
    targets = labels.nan_to_num(0.0)
    call = targets.amax(dim=1, keepdim=True)
    of_unknown = call * max(weak_negative_weight, CALL_WINDOW_WEIGHT) + (1 - call) * weak_negative_weight
    weight = torch.where(labels.isnan(), of_unknown, 1.0)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (loss * weight).sum() / len(labels)


def resolve_device(device: str) -> torch.device:
    """Return the torch device for a name in `DEVICES`.

    Raises
    ------
    UserError
        CUDA is requested but not available.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': torch finds no CUDA GPU; give --device cpu or --device auto")
    return torch.device(device)


def _epoch_batches(
    is_known: Tensor, n_windows: int, batch_size: int, *, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield the window indices of each batch of one epoch."""

    def shuffled(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator, device=rows.device)]

    known, other = is_known.nonzero()[:, 0], (~is_known).nonzero()[:, 0]
    rows = torch.cat([known, shuffled(other)[: n_windows - len(known)]])
    # Batches of about equal size: a last batch of a single window has no variance to normalise by.
    yield from shuffled(rows).tensor_split(-(-len(rows) // batch_size))


def _base_rate(Y: np.ndarray, weak_negative_weight: float) -> Tensor:
    """Return the weighted fraction of positive windows, (n_species,), smoothed so that it is never 0 or 1."""
    weight = np.where(np.isnan(Y), weak_negative_weight, 1.0)
    positives = (Y == 1).sum(axis=0)
    return torch.tensor((positives + 0.5) / (weight.sum(axis=0) + 1), dtype=torch.float32)
