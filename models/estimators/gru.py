"""A small bidirectional recurrent network with attention pooling, for windows of frames."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from features.common.errors import UserError
from features.common.files import replacing
from models.estimators.labels import check_labels, multilabel_tags

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
DEVICES = ("auto", "cpu", "cuda")
PREDICT_BATCH = 512
VERSION = 3  # raise it when the same parameters and data give another network


class RecurrentNet(nn.Module):
    """Recurrent layer, then for each species the mean of its frame scores, weighted by attention.

    Parameters
    ----------
    mean, std : (n_bands,) normalisation of the input.
    base_rate : (n_species,) share of windows with the species, where the scores begin.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Tensor, std: Tensor, base_rate: Tensor, hidden_size: int, cell: str, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.rnn = CELLS[cell](len(mean), hidden_size, batch_first=True, bidirectional=True)
        self.dropout = dropout
        self.heads = nn.Linear(2 * hidden_size, 2 * len(base_rate))
        with torch.no_grad():
            # Else the first epochs go into learning that every species is rare.
            self.heads.bias[: len(base_rate)] = base_rate.logit()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, n_species) logits of (batch, time, n_bands) normalised frames."""
        hidden, _ = self.rnn(x)  # (batch, time, 2 * hidden_size)
        if self.training:
            hidden = hidden * _dropout_mask(hidden, self.dropout)
        score, attention = self.heads(hidden).chunk(2, dim=2)
        return (score * attention.softmax(dim=1)).sum(dim=1)

    def normalise(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.std


class GRUClassifier(BaseEstimator):
    """A recurrent network for multi-label windows with unknown labels.

    Parameters
    ----------
    cell : "gru", "lstm" or "rnn".
    hidden_size : units in each direction.
    epochs : epochs of training.
    batch_size, learning_rate, weight_decay, dropout : as usual, for AdamW on one cycle.
    weak_negative_weight : weight of a cell whose label is unknown, as a negative.
    mixup : share of the windows that are overlaid with another, each cell keeping the louder.
    device : "auto" takes CUDA where there is one.
    random_state : seed of weights, batches and augmentation.

    Attributes
    ----------
    net_ : RecurrentNet.
    n_bands_, n_species_ : int.
    n_windows_ : int, windows that an epoch sees.
    history_ : list of float, the mean training loss of each epoch.
    seconds_ : float, that the fit took.

    Notes
    -----
    An epoch sees every window with a known label and as many others, drawn anew: the others are
    many and say little. Augmentation: the louder of two windows (calls overlap, and the louder
    masks), and SpecAugment's time and band masks (Park et al. 2019). No recording is held for early
    stopping: with some twenty positives a species the network learns more from it than the best epoch,
    which so few tell unsurely, gains, and one cycle ends where the learning rate does.
    """

    def __init__(
        self,
        cell: str = "gru",
        hidden_size: int = 96,
        epochs: int = 24,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        dropout: float = 0.3,
        weak_negative_weight: float = 0.1,
        mixup: float = 0.5,
        device: str = "auto",
        random_state: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.weak_negative_weight = weak_negative_weight
        self.mixup = mixup
        self.device = device
        self.random_state = random_state

    def fit(self, X: np.ndarray, Y: np.ndarray, on_epoch: Callable[[float], None] | None = None) -> Self:
        """Fit on (n_windows, n_steps, n_bands) X and (n_windows, n_species) Y of 1, 0 and nan.

        Parameters
        ----------
        on_epoch : called with each entry of `history_`.
        """
        started = time.perf_counter()
        X = validate_data(self, X, dtype=(np.float16, np.float32), allow_nd=True)
        Y = check_labels(Y, len(X))
        device = resolve_device(self.device)
        on_gpu = device.type == "cuda"
        generator = torch.Generator(device).manual_seed(self.random_state)
        torch.manual_seed(self.random_state)

        is_known = ~np.isnan(Y).all(axis=1)
        if not is_known.any():
            raise UserError(f"no label is known in the {len(Y)} training windows; check more boxes")
        self.n_bands_, self.n_species_ = X.shape[2], Y.shape[1]
        mean, std = _moments(X)
        self.net_ = RecurrentNet(
            torch.tensor(mean, dtype=torch.float32),
            torch.tensor(std, dtype=torch.float32),
            _base_rate(Y, self.weak_negative_weight),
            self.hidden_size,
            self.cell,
            self.dropout,
        ).to(device)
        # All on the device at once: a batch is then an index away.
        data = torch.from_numpy(X).to(device)
        labels = torch.from_numpy(Y.astype(np.float32)).to(device)
        known = torch.from_numpy(is_known).to(device)
        self.n_windows_ = min(2 * int(is_known.sum()), len(Y))
        steps = -(-self.n_windows_ // self.batch_size)

        optimizer = torch.optim.AdamW(
            self.net_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.learning_rate,
            total_steps=max(steps * self.epochs, 10),  # of fewer it cannot make a rise and a fall
            pct_start=0.2,
        )
        # On a GPU half precision; a scaler keeps small gradients from vanishing there.
        scaler = torch.amp.GradScaler(device.type, enabled=on_gpu)
        self.net_.train()
        self.history_ = []
        for _ in range(self.epochs):
            losses = []
            for rows in _epoch_batches(known, self.n_windows_, self.batch_size, generator):
                x, y = augment(self.net_.normalise(data[rows]), labels[rows], self.mixup, generator)
                with torch.autocast(device.type, torch.float16, enabled=on_gpu):
                    logits = self.net_(x)
                loss = weak_bce(logits.float(), y, self.weak_negative_weight)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(self.net_.parameters(), 5.0)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                losses.append(loss.detach())
            self.history_.append(float(torch.stack(losses).mean()))
            if not np.isfinite(self.history_[-1]):
                raise UserError(
                    f"the network's loss is {self.history_[-1]} in epoch {len(self.history_)}; lower its "
                    f"learning rate of {self.learning_rate:g}"
                )
            if on_epoch is not None:
                on_epoch(self.history_[-1])
        self.net_.cpu()
        self.seconds_ = time.perf_counter() - started
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_species) probability of each species in each window."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float16, np.float32), allow_nd=True, reset=False)
        device = resolve_device(self.device)
        net = self.net_.eval()
        if net.mean.device.type != device.type:
            # Only then: even to where it is, a move takes the weights apart under another thread's hands.
            net.to(device)
        with torch.inference_mode():
            batches = (X[first : first + PREDICT_BATCH] for first in range(0, len(X), PREDICT_BATCH))
            parts = [net(net.normalise(torch.tensor(x, device=device))).sigmoid().cpu() for x in batches]
        return torch.cat(parts).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = multilabel_tags(super().__sklearn_tags__())
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def save(self, file: Path) -> None:
        """Write the weights and parameters to a file that `load` reads as data only."""
        check_is_fitted(self)
        stored = io.BytesIO()  # what torch writes to a full disk itself is no OSError
        torch.save(
            {
                "params": self.get_params(),
                "state": self.net_.state_dict(),
                "history": self.history_,
                "seconds": self.seconds_,
            },
            stored,
        )
        with replacing(file) as temporary:
            temporary.write_bytes(stored.getvalue())

    @classmethod
    def load(cls, file: Path) -> Self:
        """Return the model that `save` wrote; UserError if the file is another's, or cut."""
        try:
            stored: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
            model = cls(**stored["params"])
            state = stored["state"]
            if model.hidden_size != state["rnn.weight_hh_l0"].shape[1]:
                raise ValueError(f"{model.hidden_size} units in place of those of its weights")
            model.net_ = RecurrentNet(
                state["mean"],
                state["std"],
                torch.full((len(state["heads.bias"]) // 2,), 0.5),
                model.hidden_size,
                model.cell,
                model.dropout,
            )
            model.net_.load_state_dict(state)
            model.n_bands_, model.n_species_ = len(state["mean"]), len(state["heads.bias"]) // 2
            model.history_ = stored["history"]
            model.seconds_ = stored["seconds"]
        except Exception as error:  # of a dozen kinds, by where the file is wrong
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{file}: holds no network of this version ({reason}); remove it") from error
        model.net_.to(resolve_device(model.device)).eval()
        return model


def weak_bce(logits: Tensor, labels: Tensor, weak_negative_weight: float) -> Tensor:
    """Return the mean binary cross-entropy of (batch, n_species), nan labels as weak negatives."""
    unknown = labels.isnan()
    loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), reduction="none")
    return (loss * torch.where(unknown, weak_negative_weight, 1.0)).sum() / len(labels)


def augment(x: Tensor, y: Tensor, mixup: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return (batch, time, n_bands) windows overlaid and masked, and their labels.

    The overlay has the species of either window; it lacks those that both lack, and does not know
    the rest.
    """
    n, n_steps, n_bands = x.shape
    other = torch.randperm(n, generator=generator, device=x.device)
    mixed = torch.rand(n, generator=generator, device=x.device) < mixup
    x = torch.where(mixed[:, None, None], torch.maximum(x, x[other]), x)
    both = torch.where((y == 1) | (y[other] == 1), 1.0, y + y[other])  # 0 + 0, else nan
    y = torch.where(mixed[:, None], both, y)
    x = x * _mask(n, n_steps, n_steps // 5, generator)[:, :, None]
    return x * _mask(n, n_bands, n_bands // 8, generator)[:, None, :], y


def resolve_device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': torch finds no CUDA GPU here; give --device cpu or auto")
    return torch.device(device)


def _mask(n: int, length: int, widest: int, generator: torch.Generator) -> Tensor:
    """Return (n, length) of 1 with a run of 0 to `widest` zeros in each row."""
    device = generator.device
    width = torch.randint(0, widest + 1, (n, 1), generator=generator, device=device)
    start = (torch.rand(n, 1, generator=generator, device=device) * (length - width + 1)).long()
    position = torch.arange(length, device=device)
    return ((position < start) | (position >= start + width)).float()


def _dropout_mask(x: Tensor, p: float) -> Tensor:
    """Return what dropout multiplies (batch, time, features) x by: 0 for a share `p`, else 1 / (1 - p).

    Eight cells share one 64-bit draw, which `nn.Dropout` spends on each: on a CPU a tenth of an epoch.
    """
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    dropped = round(256 * p)
    kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return kept * (256 / (256 - dropped))


def _epoch_batches(
    is_known: Tensor, n_windows: int, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    def shuffled(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator, device=rows.device)]

    known, other = is_known.nonzero()[:, 0], (~is_known).nonzero()[:, 0]
    rows = torch.cat([known, shuffled(other)[: n_windows - len(known)]])
    yield from shuffled(rows).split(batch_size)


def _base_rate(Y: np.ndarray, weak_negative_weight: float) -> Tensor:
    weight = np.where(np.isnan(Y), weak_negative_weight, 1.0)
    positives = (Y == 1).sum(axis=0)
    return torch.tensor((positives + 0.5) / (weight.sum(axis=0) + 1), dtype=torch.float32)


def _moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n_bands,) mean and standard deviation of windows, without a float64 copy of them all."""
    n = len(X) * X.shape[1]
    total, squares = np.zeros(X.shape[2]), np.zeros(X.shape[2])
    for first in range(0, len(X), PREDICT_BATCH):
        x = X[first : first + PREDICT_BATCH].astype(np.float64)
        total += x.sum(axis=(0, 1))
        squares += (x**2).sum(axis=(0, 1))
    mean = total / n
    variance = squares / n - mean**2
    return mean, np.sqrt(np.maximum(variance, 1e-6))  # a silent band is constant
