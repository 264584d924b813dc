"""A small multi-layer perceptron on the columns of a window."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.estimators.network import NetworkClassifier
from models.estimators.window_net import WindowNet, dropout_mask

MAX_DEVIATIONS = 4.0  # limit of standardised columns, because the network is unbounded


class ColumnNet(WindowNet):
    """A hidden layer on standardised columns, with dropout of columns and of hidden units.

    Dropout of columns [1]_ spreads the evidence for a species over many columns, as the ridge penalty does in
    a linear model.

    Parameters
    ----------
    mean, std : (n_columns,) mean and standard deviation that normalise the columns.
    base_rate : (n_species,) fraction of windows with each species; value of the scores before training.
    hidden_size : number of hidden units.
    column_dropout, dropout : dropout probability of columns and of hidden units.

    References
    ----------
    .. [1] Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting".
    """

    def __init__(
        self,
        mean: Tensor,
        std: Tensor,
        base_rate: Tensor,
        *,
        hidden_size: int,
        column_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__(mean, std, dropout=dropout)
        self.column_dropout = column_dropout
        self.hidden = nn.Linear(len(mean), hidden_size, bias=False)
        self.norm = nn.BatchNorm1d(hidden_size)
        self.add_heads(hidden_size, base_rate)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of normalised columns x, (batch, 1, hidden_size), from (batch, n_columns)."""
        x = x.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        if self.training:
            x = x * dropout_mask(x, self.column_dropout)
        return self.norm(self.hidden(x)).relu()[:, None]  # a window is a single step


@dataclass(kw_only=True, eq=False, repr=False)
class MLPClassifier(NetworkClassifier):
    """A perceptron with one hidden layer for multi-label classification of columns; labels may be unknown.

    The other parameters, the attributes and the training are those of `NetworkClassifier`.

    Parameters
    ----------
    hidden_size : int
        Number of hidden units.
    column_dropout : float
        Dropout probability of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    >>> Y = (X[:, :2] > 1).astype(float)  # species k is present if column k is high
    >>> Y[:50, 1] = np.nan  # unknown
    >>> model = MLPClassifier(hidden_size=16, learning_rate=0.02, device="cpu").fit(X, Y)
    >>> P = model.predict_proba(np.array([[3, 0, 0], [0, 3, 0]], np.float32))
    >>> P.argmax(axis=1).tolist()
    [0, 1]
    """

    hidden_size: int = 128
    column_dropout: float = 0.2
    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.5

    def make_net(self, mean: Tensor, std: Tensor, base_rate: Tensor) -> ColumnNet:
        return ColumnNet(
            mean,
            std,
            base_rate,
            hidden_size=self.hidden_size,
            column_dropout=self.column_dropout,
            dropout=self.dropout,
        )

    def validate_weights(self, state: Mapping[str, Tensor]) -> None:
        if self.hidden_size != len(state["norm.bias"]):
            raise ValueError(f"hidden_size {self.hidden_size} does not match the weights")
