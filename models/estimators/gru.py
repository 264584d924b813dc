"""A small bidirectional recurrent network with attention pooling over the frames of a window."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.estimators.sequence_network import SequenceNetworkClassifier
from models.estimators.window_net import WindowNet

CELLS = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}


class RecurrentNet(WindowNet):
    """A recurrent layer, followed for each species by an attention-weighted mean of scores over steps.

    Parameters
    ----------
    mean, std : (n_bands,) mean and standard deviation that normalise the input.
    base_rate : (n_species,) fraction of windows with each species; value of the scores before training.
    hidden_size : number of units in each direction.
    cell : name of the recurrent cell in `CELLS`.
    dropout : dropout probability of the recurrent layer's output.
    """

    def __init__(
        self, mean: Tensor, std: Tensor, base_rate: Tensor, *, hidden_size: int, cell: str, dropout: float
    ) -> None:
        super().__init__(mean, std, dropout=dropout)
        self.rnn = CELLS[cell](len(mean), hidden_size, batch_first=True, bidirectional=True)
        self.add_heads(2 * hidden_size, base_rate)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of each step, (batch, time, 2 * hidden_size), of x, (batch, time, n_bands)."""
        return self.rnn(x)[0]


@dataclass(kw_only=True, eq=False, repr=False)
class GRUClassifier(SequenceNetworkClassifier):
    """A recurrent network for multi-label classification of windows; labels may be unknown.

    The other parameters, the attributes and the training are those of `SequenceNetworkClassifier`.

    Parameters
    ----------
    cell : {"GRU", "LSTM", "RNN"}
        Kind of recurrent cell.
    hidden_size : int
        Number of units in each direction.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> Y = (rng.random((40, 2)) < 0.5).astype(float)
    >>> X = rng.normal(size=(40, 10, 4)).astype(np.float32)  # 40 windows of 10 frames and 4 bands
    >>> X[:, 5, :2] += 6 * Y  # species k is audible in band k
    >>> model = GRUClassifier(hidden_size=8, epochs=20, learning_rate=0.02, device="cpu").fit(X, Y)
    >>> P = model.predict_proba(X)
    >>> P.shape
    (40, 2)
    >>> bool(P[Y == 1].mean() > P[Y == 0].mean())
    True
    """

    cell: str = "GRU"
    hidden_size: int = 96
    batch_size: int = 128
    min_batches: int = 40  # fewer steps rank worse if there are few windows
    learning_rate: float = 4e-3

    def make_net(self, mean: Tensor, std: Tensor, base_rate: Tensor) -> RecurrentNet:
        return RecurrentNet(
            mean, std, base_rate, hidden_size=self.hidden_size, cell=self.cell, dropout=self.dropout
        )

    def validate_weights(self, state: Mapping[str, Tensor]) -> None:
        if self.hidden_size != state["rnn.weight_hh_l0"].shape[1]:
            raise ValueError(f"hidden_size {self.hidden_size} does not match the weights")
