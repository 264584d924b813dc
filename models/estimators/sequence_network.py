"""Networks on the frames of a window, with augmentation."""

from dataclasses import dataclass

import torch
from sklearn.utils import Tags
from torch import Tensor

from models.estimators.augmentation import augment
from models.estimators.network import NetworkClassifier


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceNetworkClassifier(NetworkClassifier):
    """A network on the frames of a window.

    The other parameters and the attributes are those of `NetworkClassifier`.

    Parameters
    ----------
    mixup : float
        Fraction of the windows that are overlaid with another window.

    Notes
    -----
    Augmentation overlays two windows, and masks ranges of time and bands as in SpecAugment [1]_. The overlay
    is the elementwise maximum of both windows, because a loud call masks a quiet one.

    References
    ----------
    .. [1] Park et al. (2019), "SpecAugment: a simple data augmentation method for automatic speech
       recognition".
    """

    mixup: float = 0.5

    def augment(self, x: Tensor, y: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return augment(x, y, self.mixup, generator=generator)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags
