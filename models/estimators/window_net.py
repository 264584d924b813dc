"""Base class of the networks on the steps of a window: normalisation, dropout and attention."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WindowNet(nn.Module):
    """A network whose score of a species is an attention-weighted mean over the steps of a window.

    A subclass adds layers, calls `add_heads`, and computes the features of each step in `encode`.

    Parameters
    ----------
    mean, std : (n_bands,) mean and standard deviation that normalise the input.
    dropout : dropout probability of the input of the heads.
    """

    mean: Tensor
    std: Tensor
    heads: nn.Linear

    def __init__(self, mean: Tensor, std: Tensor, *, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.dropout = dropout

    def add_heads(self, n_features: int, base_rate: Tensor) -> None:
        """Add the layer that computes scores and attention.

        Parameters
        ----------
        n_features : number of features of each step.
        base_rate : (n_species,) fraction of windows with each species; value of the scores before training.
        """
        self.heads = nn.Linear(n_features, 2 * len(base_rate))
        with torch.no_grad():
            # Without these biases, the first epochs would only teach the network that every species is rare.
            self.heads.bias[: len(base_rate)] = base_rate.logit()

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return the features of each step, (batch, time, n_features), of normalised x."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (batch, n_species), of normalised x."""
        return self.attend(self.encode(x))

    def attend(self, hidden: Tensor) -> Tensor:
        """Return the logits, (batch, n_species), of the features of each step, (batch, time, n_features)."""
        if self.training:
            hidden = hidden * dropout_mask(hidden, self.dropout)
        score, attention = self.heads(hidden).chunk(2, dim=2)
        return (score * attention.softmax(dim=1)).sum(dim=1)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the weights of all layers but the heads, and the moments of the input."""
        return {name: x for name, x in self.state_dict().items() if not name.startswith("heads.")}

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Replace what `encoder_state` returns."""
        self.load_state_dict({**self.state_dict(), **state})

    def normalise(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.std


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """Return a dropout mask with the shape of x: 0 with probability `p`, otherwise 1 / (1 - p).

    Each random 64-bit number gives eight values, whereas `nn.Dropout` draws one number per value. On a CPU,
    an epoch takes a tenth less time.
    """
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    dropped = round(256 * p)
    kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return kept * (256 / (256 - dropped))
