"""Cross-validation folds that keep groups of recordings whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, clone

from features.common.errors import UserError
from features.common.parallel import on_workers


def make_folds(Y: np.ndarray, groups: np.ndarray, n_folds: int, *, seed: int) -> np.ndarray:
    """Return the fold of each recording, (n_recordings,), numbered from 0; groups are never split.

    Folds are balanced by species and by size with iterative stratification [1]_. Groups are assigned one
    after the other, starting with those that contain a large share of all positives of a species. Each group
    goes to the fold that so far has the smallest shares of the species in this group.

    Parameters
    ----------
    Y : (n_recordings, n_species) labels; 1 where a species is known to be present.
    groups : (n_recordings,) group of each recording.
    n_folds : number of folds.
    seed : random seed; it determines the order of groups whose largest shares are equal.

    Raises
    ------
    UserError
        There are fewer groups than folds, fewer than two folds, or fewer than two groups.

    References
    ----------
    .. [1] Sechidis, Tsoumakas and Vlahavas (2011), "On the stratification of multi-label data".

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.eye(2)[[0, 0, 1, 1, 0, 0]]
    >>> groups = np.array(["a", "a", "b", "c", "d", "d"])
    >>> fold = make_folds(Y, groups, 2, seed=0)
    >>> bool(fold[0] == fold[1] != fold[4] == fold[5])
    True
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise UserError(
            "cannot make folds of a single recording or group; add recordings, or give them different groups "
            "in groups.csv"
        )
    if not 2 <= n_folds <= len(names):
        raise UserError(
            f"cannot make {n_folds} folds of {len(names)} recordings or groups; "
            f"give --folds between 2 and {len(names)}"
        )
    counts = np.zeros((len(names), Y.shape[1]))
    np.add.at(counts, members, Y == 1)
    sizes = np.bincount(members)
    # Each group's share of all positives of a species, so that rare species count as much as common ones.
    share = counts / np.maximum(counts.sum(axis=0), 1)
    share = np.column_stack([share, sizes / sizes.sum()])  # the last column balances the sizes of the folds

    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]
    filled = np.zeros((n_folds, share.shape[1]))
    fold = np.empty(len(names), int)
    for group in order:
        # Increase of the sum of squared shares. This sum is smallest if all folds have equal shares.
        cost = (2 * filled * share[group]).sum(axis=1)
        fold[group] = np.lexsort((filled.sum(axis=1), cost))[0]
        filled[fold[group]] += share[group]
    return fold[members]


@dataclass(frozen=True)
class Fold:
    """Held-out windows of one fold, and the training examples for the model that scores them.

    Attributes
    ----------
    X : (n_examples, n_features) features of the training examples, which come from the other folds.
    Y : (n_examples, n_species) labels of the training examples.
    held : (n_held,) indices of the held-out windows among all windows.
    X_held : (n_held, n_features) features of the held-out windows.
    """

    X: np.ndarray
    Y: np.ndarray
    held: np.ndarray
    X_held: np.ndarray

    def score(self, model: BaseEstimator) -> np.ndarray:
        """Return the scores of the held-out windows, (n_held, n_species).

        They are those of a clone of `model`, which is fitted on the training examples.
        """
        return clone(model).fit(self.X, self.Y).predict_proba(self.X_held)


def split(X: np.ndarray, Y: np.ndarray, fold: np.ndarray) -> list[Fold]:
    """Return one `Fold` per fold number, for features that are the same in every fold.

    Parameters
    ----------
    X : (n_windows, n_features) features.
    Y : (n_windows, n_species) labels.
    fold : (n_windows,) fold of each window, from 0.
    """
    numbers = range(fold.max() + 1)
    return [Fold(X[fold != k], Y[fold != k], np.flatnonzero(fold == k), X[fold == k]) for k in numbers]


def out_of_fold(model: BaseEstimator, folds: Sequence[Fold]) -> Iterator[np.ndarray]:
    """Yield the array of out-of-fold scores, (n_windows, n_species), after each fold.

    The same array is yielded every time. Windows that are not scored yet have score 0. On a cluster, models
    of several folds are fitted at the same time, else one after the other.

    Parameters
    ----------
    model : unfitted estimator with `predict_proba`.
    folds : folds; every window is held out in exactly one of them.
    """
    P = np.zeros((sum(len(fold.held) for fold in folds), folds[0].Y.shape[1]))
    scores = on_workers(partial(Fold.score, model=model), ((fold,) for fold in folds), n_jobs=1)
    for fold, of_fold in zip(folds, scores, strict=True):
        P[fold.held] = of_fold
        yield P
