"""Losses of pre-training, which compare windows with each other."""

import torch
from torch import Tensor, nn

MARGIN = 0.5  # by which a negative must be further away than the positive, squared distance of unit vectors


class COLAHead(nn.Module):
    """The contrastive loss of COLA: windows of one recording are more similar than those of different ones.

    Parameters
    ----------
    n_features : number of features of the encoder.
    n_projected : number of dimensions of the space in which windows are compared.
    """

    def __init__(self, n_features: int, n_projected: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(n_features, n_projected), nn.LayerNorm(n_projected), nn.Tanh())
        self.bilinear = nn.Linear(n_projected, n_projected, bias=False)

    def forward(self, anchor: Tensor, positive: Tensor, recording: Tensor) -> Tensor:
        """Return the cross-entropy of finding each anchor's positive among those of all anchors.

        Parameters
        ----------
        anchor, positive : (batch, n_features) features.
        recording : (batch,) number of each anchor's recording.
        """
        similarity = self.project(anchor) @ self.bilinear(self.project(positive)).T  # (batch, batch)
        same = (recording[:, None] == recording) & ~torch.eye(len(anchor), dtype=torch.bool).to(anchor.device)
        similarity = similarity.masked_fill(same, -torch.inf)  # not negatives
        return nn.functional.cross_entropy(similarity, torch.arange(len(anchor), device=anchor.device))


class TripletHead(nn.Module):
    """The triplet loss with semi-hard negatives, on unit vectors; parameters as in `COLAHead`."""

    def __init__(self, n_features: int, n_projected: int) -> None:
        super().__init__()
        self.project = nn.Linear(n_features, n_projected)

    def forward(self, anchor: Tensor, positive: Tensor, recording: Tensor) -> Tensor:
        """Return the mean loss of the triplets; parameters as in `COLAHead.forward`.

        The negative is the nearest anchor of another recording that is further away than the positive, or the
        furthest if none is.
        """
        a, p = (nn.functional.normalize(self.project(x), dim=1) for x in (anchor, positive))
        to_positive = (a - p).square().sum(dim=1)
        to_others = 2 - 2 * a @ a.T
        other = recording[:, None] != recording
        further = other & (to_others > to_positive[:, None])
        nearest = to_others.masked_fill(~further, torch.inf).min(dim=1).values
        furthest = to_others.masked_fill(~other, -torch.inf).max(dim=1).values
        negative = torch.where(nearest.isfinite(), nearest, furthest)
        usable = other.any(dim=1)
        return (to_positive - negative + MARGIN).relu()[usable].sum() / max(int(usable.sum()), 1)


HEADS: dict[str, type[nn.Module]] = {"cola": COLAHead, "triplets": TripletHead}
