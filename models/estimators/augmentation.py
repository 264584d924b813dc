"""Augmentation of windows: overlays, and masks of time and frequency."""

import torch
from torch import Tensor


def augment(x: Tensor, y: Tensor, mixup: float, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return windows that are overlaid and masked at random, and their labels.

    In an overlay, a species is present if it is present in either window, absent if it is absent in both,
    and unknown otherwise. Soft labels count as probabilities of independent events.

    Parameters
    ----------
    x : (batch, time, n_bands) normalised frames.
    y : (batch, n_species) labels from 0 to 1, or nan for unknown.
    mixup : fraction of the windows that are overlaid.
    generator : random number generator on the device of x.
    """
    n, n_steps, n_bands = x.shape
    other = torch.randperm(n, generator=generator, device=x.device)
    mixed = torch.rand(n, generator=generator, device=x.device) < mixup
    x = torch.where(mixed[:, None, None], torch.maximum(x, x[other]), x)
    either = 1 - (1 - y.nan_to_num()) * (1 - y[other].nan_to_num())
    both = torch.where(either > 0, either, y + y[other])  # 0 if both are 0, otherwise nan
    y = torch.where(mixed[:, None], both, y)
    x = x * _mask(n, n_steps, n_steps // 5, generator=generator)[:, :, None]
    return x * _mask(n, n_bands, n_bands // 8, generator=generator)[:, None, :], y


def _mask(n: int, length: int, max_width: int, *, generator: torch.Generator) -> Tensor:
    """Return an (n, length) array of ones in which each row has a random range of 0 to `max_width` zeros."""
    device = generator.device
    width = torch.randint(0, max_width + 1, (n, 1), generator=generator, device=device)
    start = (torch.rand(n, 1, generator=generator, device=device) * (length - width + 1)).long()
    position = torch.arange(length, device=device)
    return ((position < start) | (position >= start + width)).float()
