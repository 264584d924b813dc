"""A small convolutional network with attention pooling over the steps of a window."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from models.estimators.sequence_network import SequenceNetworkClassifier
from models.estimators.window_net import WindowNet

ARCHITECTURES = ("cnn", "resnet")
POOLS = ((1, 2), (2, 2), (2, 2))  # factors of time and frequency by which each stage reduces the resolution


class Convolution(nn.Module):
    """A 3x3 convolution with batch normalisation; the output has as many steps and bands as the input.

    Parameters
    ----------
    n_in, n_out : number of channels of the input and of the output.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        if self.training:
            return norm(conv(x))
        # Outside training, the normalisation is a linear function of each channel. As part of the filters it
        # costs no time.
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        return nn.functional.conv2d(x, weight, bias, padding=1)


class Stage(nn.Module):
    """Two 3x3 convolutions, and maximum pooling.

    Parameters
    ----------
    n_in, n_out : number of channels of the input and of the output.
    pool : factors of time and frequency.
    residual : whether the input, convolved 1x1, is added to the output of the convolutions [1]_.

    References
    ----------
    .. [1] He et al. (2016), "Deep residual learning for image recognition".
    """

    def __init__(self, n_in: int, n_out: int, pool: tuple[int, int], *, residual: bool) -> None:
        super().__init__()
        self.first = Convolution(n_in, n_out)
        self.second = Convolution(n_out, n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False) if residual else None
        self.pool = nn.MaxPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu_())
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.pool(y).relu_()  # the same as before pooling, on fewer values


class ConvolutionalNet(WindowNet):
    """Convolutions over time and frequency, then for each species an attention-weighted mean over steps.

    Calls of a species are in its band, so filters need to know the frequency: a second channel of the input
    has the position of the band, from -1 to 1, and all bands of a step go to the same linear layer [1]_.

    Parameters
    ----------
    mean, std : (n_bands,) mean and standard deviation that normalise the input.
    base_rate : (n_species,) fraction of windows with each species; value of the scores before training.
    channels : number of channels of each stage in `POOLS`.
    hidden_size : number of features of each step.
    residual : whether stages are residual.
    dropout : dropout probability of the features.

    References
    ----------
    .. [1] Liu et al. (2018), "An intriguing failing of convolutional neural networks and the CoordConv
       solution".
    """

    position: Tensor

    def __init__(
        self,
        mean: Tensor,
        std: Tensor,
        base_rate: Tensor,
        *,
        channels: tuple[int, ...],
        hidden_size: int,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__(mean, std, dropout=dropout)
        self.register_buffer("position", torch.linspace(-1, 1, len(mean)), persistent=False)
        stages = zip((2, *channels), channels, POOLS, strict=False)
        self.stages = nn.Sequential(*(Stage(*sizes, residual=residual) for sizes in stages))
        n_bands = len(mean)
        for _, factor in POOLS:
            n_bands //= factor
        self.features = nn.Linear(channels[-1] * n_bands, hidden_size)
        self.add_heads(hidden_size, base_rate)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of each step, (batch, time, hidden_size), of x, (batch, time, n_bands)."""
        n_steps = 1
        for factor, _ in POOLS:
            n_steps *= factor
        x = nn.functional.pad(x, (0, 0, 0, max(n_steps - x.shape[1], 0)))
        x = torch.stack([x, self.position.expand_as(x)], dim=1)  # (batch, 2, time, n_bands)
        x = self.stages(x.contiguous(memory_format=torch.channels_last))
        return self.features(x.permute(0, 2, 1, 3).flatten(2)).relu()


@dataclass(kw_only=True, eq=False, repr=False)
class CNNClassifier(SequenceNetworkClassifier):
    """A convolutional network for multi-label classification of windows; labels may be unknown.

    The other parameters, the attributes and the training are those of `SequenceNetworkClassifier`.

    Parameters
    ----------
    arch : {"cnn", "resnet"}
        Plain or residual stages.
    channels : tuple of int
        Number of channels of each of the three stages.
    hidden_size : int
        Number of features of each step.

    Notes
    -----
    The sizes follow the small networks for bird and frog species of LeBien et al. [1]_, reduced so that they
    train on a laptop.

    References
    ----------
    .. [1] LeBien et al. (2020), "A pipeline for identification of bird and frog species in tropical
       soundscape recordings using a convolutional neural network".

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> Y = (rng.random((40, 2)) < 0.5).astype(float)
    >>> X = rng.normal(size=(40, 12, 8)).astype(np.float32)  # 40 windows of 12 frames and 8 bands
    >>> X[:, 4:8, [1, 6]] += 6 * Y[:, None]  # species 0 is audible in band 1, species 1 in band 6
    >>> model = CNNClassifier(channels=(4, 4, 8), hidden_size=8, epochs=20, device="cpu").fit(X, Y)
    >>> P = model.predict_proba(X)
    >>> P.shape
    (40, 2)
    >>> bool(P[Y == 1].mean() > P[Y == 0].mean())
    True
    """

    arch: str = "cnn"
    channels: tuple[int, ...] = (16, 32, 64)
    hidden_size: int = 128
    epochs: int = 20

    def make_net(self, mean: Tensor, std: Tensor, base_rate: Tensor) -> ConvolutionalNet:
        return ConvolutionalNet(
            mean,
            std,
            base_rate,
            channels=tuple(self.channels),
            hidden_size=self.hidden_size,
            residual=self.arch == "resnet",
            dropout=self.dropout,
        )

    def validate_weights(self, state: Mapping[str, Tensor]) -> None:
        stored = [len(state[f"stages.{k}.first.conv.weight"]) for k in range(len(POOLS))]
        if self.arch not in ARCHITECTURES or list(self.channels) != stored:
            raise ValueError(f"arch {self.arch!r} or channels {self.channels} do not match the weights")
        if self.hidden_size != len(state["features.bias"]):
            raise ValueError(f"hidden_size {self.hidden_size} does not match the weights")
