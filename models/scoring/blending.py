"""Two or more models' scores -> one, in the space and with the weights that rank best."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.special
import scipy.stats

from models.metrics import difference_error
from models.scoring.calibration import logit

STEPS = 20  # weights are multiples of 1 / STEPS

Metric = Callable[[np.ndarray, np.ndarray], float]


def _row_rank(P: np.ndarray) -> np.ndarray:
    """Return each row's ranks, 0 for the lowest and 1 for the highest, ties averaged."""
    return (scipy.stats.rankdata(P, axis=1) - 1) / max(P.shape[1] - 1, 1)


# Where members' errors are independent, log odds add; the other spaces have to earn their place.
SPACES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "logit": (logit, scipy.special.expit),
    "probability": (np.asarray, np.asarray),
    "rank": (_row_rank, np.asarray),
}


@dataclass(frozen=True)
class Blend:
    """A weighted mean of the members' scores in one of `SPACES`."""

    space: str
    weights: tuple[float, ...]

    def apply(self, members: np.ndarray) -> np.ndarray:
        """Return the (n_recordings, n_species) blend, in [0, 1], of (n_members, ...) scores."""
        into, back = SPACES[self.space]
        return back(np.tensordot(self.weights, np.stack([into(P) for P in members]), axes=1))


def candidates(n_members: int) -> list[Blend]:
    """Return every blend of the simplex grid in every space."""
    grid = [w for w in product(range(STEPS + 1), repeat=n_members) if sum(w) == STEPS]
    return [Blend(space, tuple(k / STEPS for k in w)) for space in SPACES for w in grid]


def score_candidates(members: np.ndarray, Y: np.ndarray, metric: Metric) -> dict[Blend, float]:
    """Return the score on Y of every candidate blend of the members."""
    return {blend: metric(Y, blend.apply(members)) for blend in candidates(len(members))}


def fit_blend(members: np.ndarray, Y: np.ndarray, metric: Metric) -> Blend:
    """Return the simplest candidate that is as good as the best.

    As good is within one standard error of the paired difference, over blocks of recordings (the
    rule of Breiman et al. 1984): three spaces times a grid of weights are many draws from noise.
    Simplest is log odds first, and there the blend nearest to equal weights, which need no fitting.
    """
    scored = score_candidates(members, Y, metric)
    best = max(scored, key=scored.__getitem__)
    reference = best.apply(members)
    equal = 1 / len(members)
    for blend in sorted(
        scored,
        key=lambda blend: (list(SPACES).index(blend.space), max(abs(w - equal) for w in blend.weights)),
    ):
        P = blend.apply(members)
        if scored[best] - scored[blend] <= difference_error(metric, Y, reference, P):
            return blend
    return best


def cross_fit(
    members: np.ndarray, Y: np.ndarray, fold: np.ndarray, metric: Metric
) -> tuple[np.ndarray, list[Blend]]:
    """Return out-of-fold blended scores, and the blend that was fitted on the other folds of each.

    Parameters
    ----------
    members : (n_members, n_recordings, n_species) out-of-fold scores.
    Y : (n_recordings, n_species).
    fold : (n_recordings,) fold of each recording, from 0.
    """
    P = np.empty(Y.shape)
    blends = []
    for k in range(fold.max() + 1):
        blend = fit_blend(members[:, fold != k], Y[fold != k], metric)
        P[fold == k] = blend.apply(members[:, fold == k])
        blends.append(blend)
    return P, blends


def blend_or_best(
    members: np.ndarray, Y: np.ndarray, fold: np.ndarray, metric: Metric
) -> tuple[np.ndarray, Blend, list[Blend]]:
    """Return out-of-fold blended scores, the blend for new recordings, and each fold's.

    Where the best member scores higher than the cross-fitted blend by more than one standard error, it
    takes its place alone.
    """
    P, fold_blends = cross_fit(members, Y, fold, metric)
    scores = [metric(Y, member) for member in members]
    best = int(np.argmax(scores))
    if scores[best] - metric(Y, P) <= difference_error(metric, Y, members[best], P):
        return P, fit_blend(members, Y, metric), fold_blends
    alone = Blend("probability", tuple(float(k == best) for k in range(len(members))))
    return members[best], alone, [alone] * len(fold_blends)
