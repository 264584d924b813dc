"""Folds that keep groups of recordings whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, clone

from features.common.errors import UserError


def make_folds(Y: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the (n_recordings,) fold of each recording.

    A group never spans two folds. The groups are dealt by size of their rarest species, each to
    the fold that lacks its species most, after Sechidis, Tsoumakas and Vlahavas (2011), "On the
    stratification of multi-label data".

    Parameters
    ----------
    Y : (n_recordings, n_species), 1 where a species is known to be present.
    groups : (n_recordings,) group of each recording.
    """
    names, members = np.unique(groups, return_inverse=True)
    if not 2 <= n_folds <= len(names):
        raise UserError(
            f"{n_folds} folds of {len(names)} recordings or groups; give --folds between 2 and {len(names)}"
        )
    counts = np.zeros((len(names), Y.shape[1]))
    np.add.at(counts, members, Y == 1)
    sizes = np.bincount(members)
    share = counts / np.maximum(counts.sum(axis=0), 1)  # of a species' recordings, so rare ones weigh as much
    share = np.column_stack([share, sizes / sizes.sum()])  # and folds of one size

    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]
    filled = np.zeros((n_folds, share.shape[1]))
    fold = np.empty(len(names), int)
    for group in order:
        # The sum of squares of the folds' shares is least when they are equal.
        cost = (2 * filled * share[group]).sum(axis=1)
        fold[group] = np.lexsort((filled.sum(axis=1), cost))[0]
        filled[fold[group]] += share[group]
    return fold[members]


@dataclass(frozen=True)
class Fold:
    """What a fold's model is fitted on, and what it scores.

    X, Y : (n, n_features) and (n, n_species) examples that hold nothing of the fold.
    held : (n_held,) numbers of the fold's windows.
    X_held : (n_held, n_features).
    """

    X: np.ndarray
    Y: np.ndarray
    held: np.ndarray
    X_held: np.ndarray


def split(X: np.ndarray, Y: np.ndarray, fold: np.ndarray) -> list[Fold]:
    """Return the folds of windows whose features no fold can tell from others.

    Parameters
    ----------
    fold : (n_windows,) fold of each window, from 0.
    """
    numbers = range(fold.max() + 1)
    return [Fold(X[fold != k], Y[fold != k], np.flatnonzero(fold == k), X[fold == k]) for k in numbers]


def out_of_fold(model: BaseEstimator, folds: Sequence[Fold]) -> Iterator[np.ndarray]:
    """Yield after each fold the (n_windows, n_species) scores so far, 0 where a fold is to come.

    Each fold's windows are scored by a copy of `model` that was fitted on the fold's examples.
    """
    P = np.zeros((sum(len(fold.held) for fold in folds), folds[0].Y.shape[1]))
    for fold in folds:
        P[fold.held] = clone(model).fit(fold.X, fold.Y).predict_proba(fold.X_held)
        yield P
