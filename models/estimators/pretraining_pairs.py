"""Pairs of similar windows for pre-training."""

import numpy as np
import torch
from torch import Tensor

MIN_SHIFT = 2  # windows start every half length; at this distance only the last window can overlap
NEAR = 4  # greatest distance in windows of a neighbour in time
NOISE = 0.5  # standard deviation of the noise, as a multiple of that of the band
MAX_BANDS = 4  # greatest shift in frequency, in bands


class WindowPairs:
    """Random anchors and positives among the windows of recordings."""

    def __init__(self, data: Tensor, n_windows: np.ndarray, generator: torch.Generator) -> None:
        counts = torch.from_numpy(np.asarray(n_windows))
        self.data, self.generator = data, generator
        self.recording = torch.repeat_interleave(torch.arange(len(counts)), counts)
        self.count = counts[self.recording]
        self.first = (counts.cumsum(0) - counts)[self.recording]
        self.usable = (self.count > 1).nonzero()[:, 0]  # windows with another one in their recording

    def batches(self, batch_size: int, n: int) -> tuple[Tensor, ...]:
        """Return `n` batches of random windows."""
        drawn = self.usable[torch.randperm(len(self.usable), generator=self.generator)[: n * batch_size]]
        return drawn.tensor_split(n)

    def positives(self, anchors: Tensor, loss: str) -> Tensor:
        """Return a positive for each anchor, (batch, n_steps, n_bands)."""
        if loss == "cola":
            longest = self.count[anchors] - MIN_SHIFT
            return self.data[self._shifted(anchors, torch.full_like(longest, MIN_SHIFT), longest)]
        near = self._shifted(anchors, torch.ones_like(anchors), torch.full_like(anchors, NEAR))
        x = self.data[anchors].float()
        other = self.data[anchors[torch.randperm(len(anchors), generator=self.generator)]].float()
        variants = (self._noisy(x), self._translated(x), mixture(x, other), self.data[near].float())
        kind = torch.randint(len(variants), (len(anchors),), generator=self.generator)
        return torch.stack(variants)[kind, torch.arange(len(anchors))]

    def _shifted(self, windows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return other windows of the same recordings; positions wrap around at the end of a recording.

        The distance is random, from `low` to `high`, or less if a recording has too few windows.
        """
        count = self.count[windows]
        high = torch.minimum(high, count - 1).clamp(min=1)
        low = torch.minimum(low, high)
        u = torch.rand(len(windows), generator=self.generator)
        shift = low + (u * (high - low + 1)).long().clamp(max=high - low)
        return self.first[windows] + (windows - self.first[windows] + shift) % count

    def _noisy(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=self.generator).to(x.device)
        return x + NOISE * x.std(dim=(0, 1)) * noise

    def _translated(self, x: Tensor) -> Tensor:
        """Return windows shifted circularly in time, and by up to `MAX_BANDS` bands in frequency."""
        n, n_steps, n_bands = x.shape
        time = torch.randint(n_steps, (n, 1), generator=self.generator)
        bands = torch.randint(-MAX_BANDS, MAX_BANDS + 1, (n, 1), generator=self.generator)
        rows = (torch.arange(n_steps) - time) % n_steps
        columns = (torch.arange(n_bands) - bands).clamp(0, n_bands - 1)
        each = torch.arange(n)[:, None, None]
        return x[each, rows[:, :, None], columns[:, None, :]]


def mixture(x: Tensor, other: Tensor) -> Tensor:
    """Return windows in which other windows are audible with a quarter of their energy; levels are in dB."""
    power, added = 10 ** (x / 10), 10 ** (other / 10)
    ratio = power.sum(dim=(1, 2), keepdim=True) / added.sum(dim=(1, 2), keepdim=True)
    return 10 * torch.log10(power + 0.25 * ratio * added)
