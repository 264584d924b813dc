"""Pre-training of the encoder of a network on windows without labels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from features.common.errors import UserError
from features.common.files import digest
from models.estimators.network import NetworkClassifier, resolve_device
from models.estimators.one_cycle import OneCycle
from models.estimators.pretraining_losses import HEADS
from models.estimators.pretraining_pairs import WindowPairs
from models.estimators.weights import Encoder, read_weights, short_reason, write_weights

VERSION = 2  # increase it when the same parameters and windows give another encoder


@dataclass(kw_only=True, eq=False, repr=False)
class Pretraining:
    """Pre-training of the encoder of a network, by COLA [1]_ or by triplets [2]_.

    COLA compares two windows of the same recording, which do not overlap if it is long enough, with windows
    of other recordings. A triplet has a window, a positive and a window of another recording. The positive
    is, at random, the window with noise, shifted in time and frequency, mixed with another window, or a
    neighbour in time; the first window of a recording is a neighbour of its last. The features of a window
    are the mean over its steps; [1]_ takes the maximum.

    Parameters
    ----------
    network : NetworkClassifier
        The unfitted network.
    loss : {"cola", "triplets"}
        Kind of pre-training.
    epochs : int
        Number of epochs.
    n_anchors : int
        Maximum number of windows per epoch, which are drawn at random.
    batch_size : int
        Number of windows per batch, each with a positive.
    learning_rate, weight_decay : float
        As in `NetworkClassifier`.
    n_projected : int
        Number of dimensions in which windows are compared. This layer is not part of the encoder.
    random_state : int
        Random seed.

    Attributes
    ----------
    encoder_ : Encoder
        The encoder.
    history_ : list of float
        Mean loss of each epoch.

    References
    ----------
    .. [1] Saeed, Grangier and Zeghidour (2021), "Contrastive learning of general-purpose audio
       representations".
    .. [2] Jansen et al. (2018), "Unsupervised learning of semantic audio representations".

    Examples
    --------
    >>> from models.estimators.gru import GRUClassifier
    >>> X = np.random.default_rng(0).normal(size=(40, 10, 4)).astype(np.float32)
    >>> network = GRUClassifier(hidden_size=8, device="cpu")
    >>> pretraining = Pretraining(network=network, epochs=2).fit(X, n_windows=np.array([20, 20]))
    >>> Y = np.array([[0.0], [1.0]] * 20)
    >>> network.fit(X, Y, encoder=pretraining.encoder_).predict_proba(X).shape
    (40, 1)
    """

    network: NetworkClassifier
    loss: str = "cola"
    epochs: int = 20
    n_anchors: int = 16_384
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    n_projected: int = 128
    random_state: int = 0
    history_: list[float] = field(init=False, default_factory=list)
    encoder_: Encoder = field(init=False)

    def fit(
        self,
        X: np.ndarray,
        n_windows: np.ndarray,
        on_epoch: Callable[[float], None] | None = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """Return the fitted object.

        Parameters
        ----------
        X : (n_windows, n_steps, n_bands) frames of the windows of each recording, in order.
        n_windows : (n_recordings,) number of windows of each recording.
        on_epoch : function that is called after each epoch with the mean loss.
        checkpoint : file for the state after each epoch, from which an interrupted fit continues.

        Raises
        ------
        UserError
            There are fewer than two recordings with two windows.
        """
        if (n_windows > 1).sum() < 2:
            raise UserError(
                "pre-training needs at least two recordings that are longer than a window; add recordings, "
                "or cut a long one into parts"
            )
        device = resolve_device(self.network.device)
        state = digest(VERSION, self._params(), X, n_windows)
        torch.manual_seed(self.random_state)
        net = self.network.net_for(X, torch.full((1,), 0.5)).to(device)
        head = HEADS[self.loss](net.heads.in_features, self.n_projected).to(device)
        data = torch.from_numpy(X).to(device)
        source = WindowPairs(data, n_windows, torch.Generator().manual_seed(self.random_state))
        batch_size = min(self.batch_size, len(source.usable))
        n_steps = max(min(self.n_anchors, len(source.usable)) // batch_size, 1)
        optimiser = OneCycle(
            nn.ModuleList([net, head]),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            n_steps=n_steps * self.epochs,
            device=device,
        )
        parts = {"net": net, "head": head, "optimiser": optimiser}
        self.history_ = _resumed(checkpoint, state, parts, source.generator)
        net.train()
        for _ in range(len(self.history_), self.epochs):
            losses = []
            for anchors in source.batches(batch_size, n_steps):
                recording = source.recording[anchors].to(device)
                positive = source.positives(anchors, self.loss).to(device)
                with optimiser.half_precision():
                    a, p = (net.encode(net.normalise(x)).mean(dim=1) for x in (data[anchors], positive))
                loss = head(a.float(), p.float(), recording)
                optimiser.step(loss)
                losses.append(loss.detach())
            self.history_.append(float(torch.stack(losses).mean()))
            if not np.isfinite(self.history_[-1]):
                raise UserError(
                    f"the loss is {self.history_[-1]} in epoch {len(self.history_)}; use a learning rate "
                    f"below {self.learning_rate:g}"
                )
            if checkpoint is not None:
                _write_checkpoint(checkpoint, state, parts, source.generator, self.history_)
            if on_epoch is not None:
                on_epoch(self.history_[-1])
        net.cpu()
        params = {"kind": type(self.network).__name__, **self.network.get_params()}
        self.encoder_ = Encoder(params, net.encoder_state())
        return self

    def save(self, file: Path) -> None:
        """Write the encoder to a file, which `read_encoder` reads."""
        content = {"encoder": self.encoder_.params, "state": dict(self.encoder_.state)}
        write_weights(file, content | {"loss": self.loss, "history": self.history_})

    def _params(self) -> dict[str, Any]:
        own = {name: value for name, value in vars(self).items() if not name.endswith("_")}
        return own | {"network": self.network.get_params(), "kind": type(self.network).__name__}


def read_encoder(file: Path, network: NetworkClassifier, n_bands: int) -> Encoder:
    """Return the encoder in a file, for a network to start from.

    Parameters
    ----------
    file : file that `Pretraining.save` wrote.
    network : the unfitted network.
    n_bands : number of bands of its input.

    Raises
    ------
    UserError
        The file is missing or not valid, or it has an encoder for another network or other bands.
    """
    try:
        content = read_weights(file)
        params, state = dict(content["encoder"]), dict(content["state"])
        kind = params["kind"]
        found = {name: tuple(x.shape) for name, x in state.items()}
        is_finite = all(x.isfinite().all() for x in state.values())
    except Exception as error:  # its type depends on which part of the file is not valid
        raise UserError(
            f"{file}: not an encoder that pretrain.py wrote ({short_reason(error)}); give another file, or "
            f"run pretrain.py again"
        ) from error
    expected = network.make_net(torch.zeros(n_bands), torch.ones(n_bands), torch.full((1,), 0.5))
    shapes = {name: tuple(x.shape) for name, x in expected.encoder_state().items()}
    if kind != type(network).__name__:
        raise UserError(
            f"{file}: encoder of a {kind}, but this model is a {type(network).__name__}; run pretrain.py "
            f"with the --model that is trained here"
        )
    if found != shapes:
        raise UserError(
            f"{file}: its layers or bands are not those of this model with {n_bands} bands; pretrain.py uses "
            f"the default kind of layers, so leave out --cell or --arch"
        )
    if not is_finite:
        raise UserError(f"{file}: its weights are not finite; run pretrain.py with another seed")
    return Encoder(params, state)


def _write_checkpoint(
    file: Path, state: str, parts: dict[str, Any], generator: torch.Generator, history: list[float]
) -> None:
    """Write everything that the rest of a fit depends on."""
    write_weights(
        file,
        {
            "state": state,
            "history": history,
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "random": [generator.get_state(), torch.get_rng_state()],
        },
        unique=False,
    )


def _resumed(file: Path | None, state: str, parts: dict[str, Any], generator: torch.Generator) -> list[float]:
    """Restore what `_write_checkpoint` wrote, and return the losses so far; none for another state."""
    if file is None or not file.exists():
        return []
    try:
        stored = read_weights(file)
        if stored["state"] != state:
            return []
        for name, part in parts.items():
            part.load_state_dict(stored["parts"][name])
        generator.set_state(stored["random"][0])
        torch.set_rng_state(stored["random"][1])
        return list(stored["history"])
    except Exception as error:  # its type depends on which part of the file is not valid
        raise UserError(
            f"{file}: not a valid checkpoint ({short_reason(error)}); remove the file, and run the command "
            f"again"
        ) from error
