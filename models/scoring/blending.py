"""Blending: a weighted mean of members' log odds, probabilities or ranks, chosen with a ranking metric."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import scipy.special
import scipy.stats

from models.logistic import logit
from models.metrics import auc_per_species, difference_error

STEPS = 20
"""Weights of two or three members are multiples of 1 / STEPS."""
MAX_WEIGHTS = 300  # number of points of the grid of weights
N_ERRORS = 3.0  # number of standard errors in the test of `informative`
USEFUL_AUC = 0.7  # a member is not left out if its macro AUC could be this high

Metric = Callable[[np.ndarray, np.ndarray], float]


def _row_rank(P: np.ndarray) -> np.ndarray:
    """Return the ranks of scores in each row, from 0 (lowest) to 1 (highest); ties get their mean rank."""
    return (scipy.stats.rankdata(P, axis=1) - 1) / max(P.shape[1] - 1, 1)


# Functions into each space and back, from the simplest space to the most complex one. A sum of log odds is
# optimal if the errors of the members are independent.
SPACES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "logit": (logit, scipy.special.expit),
    "probability": (np.asarray, np.asarray),
    "rank": (_row_rank, np.asarray),
}


@dataclass(frozen=True)
class Blend:
    """A weighted mean of the members' scores.

    Attributes
    ----------
    space : name of the space in `SPACES` in which the mean is computed.
    weights : weight of each member; their sum is 1.
    """

    space: str
    weights: tuple[float, ...]

    def apply(self, members: np.ndarray) -> np.ndarray:
        """Return the blended scores in [0, 1], (n_recordings, n_species).

        Parameters
        ----------
        members : (n_members, n_recordings, n_species) scores in [0, 1].
        """
        return _weighted_mean(self, _transform(members, self.space))


def _transform(members: np.ndarray, space: str) -> np.ndarray:
    into, _ = SPACES[space]
    return np.stack([into(P) for P in members])


def _weighted_mean(blend: Blend, transformed: np.ndarray) -> np.ndarray:
    """Return the blended scores; `transformed` holds the members' scores in the space of the blend."""
    _, back = SPACES[blend.space]
    weights = np.array(blend.weights)
    used = weights != 0  # adding a member with weight 0 could change the last bits of the sum
    return back(np.tensordot(weights[used], transformed[used], axes=1))


def candidates(n_members: int) -> list[Blend]:
    """Return all blends that `fit_blend` compares.

    In each space the weights form a regular grid. With two or three members, the grid has steps of 1 / 20.
    With more members, it has the smallest step 1 / n that gives at most 300 points. Equal weights are always
    included. With one member, the only candidate is the member itself.
    """
    if n_members == 1:
        return [Blend("probability", (1.0,))]
    n_steps = STEPS
    while comb(n_steps + n_members - 1, n_steps) > MAX_WEIGHTS and n_steps > 1:
        n_steps -= 1
    grid = [tuple(k / n_steps for k in parts) for parts in _compositions(n_steps, n_members)]
    equal = (1 / n_members,) * n_members
    if n_steps % n_members:
        grid.append(equal)
    return [Blend(space, weights) for space in SPACES for weights in grid]


def _compositions(total: int, n_parts: int) -> list[list[int]]:
    """Return all lists of `n_parts` non-negative integers that sum to `total`, in lexicographic order."""
    # Stars and bars: `total` items and n_parts - 1 separators form a row; choose places for the separators.
    n_places = total + n_parts - 1
    separators = combinations(range(n_places), n_parts - 1)
    return [
        [end - start - 1 for start, end in zip((-1, *s), (*s, n_places), strict=True)] for s in separators
    ]


def score_candidates(members: np.ndarray, Y: np.ndarray, metric: Metric) -> dict[Blend, float]:
    """Return the metric of each candidate blend.

    Parameters
    ----------
    members : (n_members, n_recordings, n_species) scores in [0, 1].
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    metric : function `metric(Y, P)` of truth and scores; higher is better.
    """
    transformed = {space: _transform(members, space) for space in SPACES}
    return {
        blend: metric(Y, _weighted_mean(blend, transformed[blend.space]))
        for blend in candidates(len(members))
    }


def informative(members: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Return a mask, (n_members,), of the members whose scores carry enough information to be blended.

    A member is left out if its macro AUC is below 0.7 by more than three standard errors, and is not above
    0.5 by more than three standard errors. The standard error is that of random scores [1]_. With few
    recordings it is large, and no member is left out. If this rule would leave out all members, all are kept.

    Parameters
    ----------
    members : (n_members, n_recordings, n_species) scores.
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.

    References
    ----------
    .. [1] Mann and Whitney (1947), "On a test of whether one of two random variables is stochastically larger
       than the other".
    """
    n_present, n_absent = (Y == 1).sum(axis=0), (Y == 0).sum(axis=0)
    has_auc = (n_present > 0) & (n_absent > 0)
    if not has_auc.any():
        return np.ones(len(members), bool)
    auc = np.stack([auc_per_species(Y, P) for P in members])[:, has_auc]  # (n_members, n_with_auc)
    n_pairs = n_present[has_auc] * n_absent[has_auc]
    variance = (n_present + n_absent + 1)[has_auc] / (12 * n_pairs)
    error = np.sqrt(variance.sum()) / auc.shape[1]
    macro_auc = auc.mean(axis=1)
    kept = (macro_auc > 0.5 + N_ERRORS * error) | (macro_auc + N_ERRORS * error >= USEFUL_AUC)
    return kept if kept.any() else np.ones(len(members), bool)


def fit_blend(members: np.ndarray, Y: np.ndarray, metric: Metric) -> Blend:
    """Return the simplest blend that is as good as the best.

    A blend is as good as the best unless their metrics differ by more than one standard error of the paired
    difference over blocks of recordings [1]_. If the metric is undefined, all blends are as good. Choosing
    the best of all blends, in three spaces and with many weights, would overfit. A blend is simpler if its
    space comes earlier in `SPACES` or, within a space, if its weights are closer to equal weights.

    Members that `informative` leaves out have weight 0 and do not affect how the others are blended.

    Parameters
    ----------
    members : (n_members, n_recordings, n_species) scores in [0, 1].
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    metric : function `metric(Y, P)` of truth and scores; higher is better.

    References
    ----------
    .. [1] Breiman, Friedman, Olshen and Stone (1984), "Classification and regression trees": the
       one-standard-error rule.
    """
    kept = informative(members, Y)
    blend = _fit_all(members[kept], Y, metric)
    weights = np.zeros(len(members))
    weights[kept] = blend.weights
    return Blend(blend.space, tuple(weights.tolist()))


def _fit_all(members: np.ndarray, Y: np.ndarray, metric: Metric) -> Blend:
    """Return the simplest blend that is as good as the best; no member is left out."""
    scored = score_candidates(members, Y, metric)
    best = max(scored, key=scored.__getitem__)
    reference = best.apply(members)
    equal = 1 / len(members)
    simplest_first = sorted(
        scored,
        key=lambda blend: (list(SPACES).index(blend.space), max(abs(w - equal) for w in blend.weights)),
    )
    return next(
        blend
        for blend in simplest_first
        if not scored[best] - scored[blend]
        > difference_error(metric, Y, reference, other=blend.apply(members))  # false for nan
    )


def cross_fit(
    members: np.ndarray, Y: np.ndarray, fold: np.ndarray, *, metric: Metric
) -> tuple[np.ndarray, list[Blend]]:
    """Return blended out-of-fold scores, and for each fold the blend that was fitted on the other folds.

    Parameters
    ----------
    members : (n_members, n_recordings, n_species) out-of-fold scores in [0, 1].
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    fold : (n_recordings,) fold of each recording, from 0.
    metric : function `metric(Y, P)` of truth and scores; higher is better.
    """
    P = np.empty(Y.shape)
    blends = []
    for k in range(fold.max() + 1):
        blend = fit_blend(members[:, fold != k], Y[fold != k], metric)
        P[fold == k] = blend.apply(members[:, fold == k])
        blends.append(blend)
    return P, blends


def blend_or_best(
    members: np.ndarray, Y: np.ndarray, fold: np.ndarray, *, metric: Metric
) -> tuple[np.ndarray, Blend, list[Blend]]:
    """Return blended out-of-fold scores, the blend for new recordings, and the blend of each fold.

    If the best member is better than the cross-fitted blend by more than one standard error of the paired
    difference, this member is used alone.

    Parameters
    ----------
    members : (n_members, n_recordings, n_species) out-of-fold scores in [0, 1].
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    fold : (n_recordings,) fold of each recording, from 0.
    metric : function `metric(Y, P)` of truth and scores, for example `metrics.lrap`; higher is better.

    Returns
    -------
    P : (n_recordings, n_species) array
        Scores of each fold, blended with weights that were fitted on the other folds.
    blend : Blend
        Blend fitted on all recordings. Members that `informative` leaves out have weight 0.
    fold_blends : list of Blend
        For each fold, the blend that was fitted on the other folds.

    Examples
    --------
    The blend of two members with independent errors ranks better than each of them:

    >>> import numpy as np
    >>> from models.metrics import lrap
    >>> rng = np.random.default_rng(0)
    >>> Y = (rng.random((60, 4)) < 0.3).astype(float)
    >>> members = 1 / (1 + np.exp(1 - 2 * Y - rng.normal(size=(2, 60, 4))))
    >>> P, blend, fold_blends = blend_or_best(members, Y, np.arange(60) % 3, metric=lrap)
    >>> blend.space, blend.weights
    ('logit', (0.45, 0.55))
    >>> lrap(Y, P) > max(lrap(Y, member) for member in members)
    True
    """
    P, fold_blends = cross_fit(members, Y, fold, metric=metric)
    scores = np.array([metric(Y, member) for member in members])
    best = int(np.argmax(np.where(informative(members, Y), scores, -np.inf)))
    if not scores[best] - metric(Y, P) > difference_error(metric, Y, members[best], other=P):  # false for nan
        return P, fit_blend(members, Y, metric), fold_blends
    alone = Blend("probability", tuple(float(k == best) for k in range(len(members))))
    return members[best], alone, [alone] * len(fold_blends)
