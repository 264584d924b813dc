"""Self-training: which scores become labels, and that they do not leak from one fold to another."""

from argparse import Namespace
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.estimators.ridge_discriminant import RidgeDiscriminant
from models.self_training import TrainingLabels, with_soft_labels
from pipelines.core import self_training
from pipelines.core.member import CrossFit

N_FOLDS = 2


def random_labels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which many are unknown, and scores."""
    rng = np.random.default_rng(seed)
    Y = rng.choice([0, 1, np.nan], (n, 3), p=[0.2, 0.1, 0.7])
    return Y, rng.random((n, 3))


@pytest.mark.parametrize("seed", range(5))
def test_highest_scores_of_unknown_labels_become_soft_labels(seed: int) -> None:
    Y, P = random_labels(200, seed)
    eligible = np.random.default_rng(seed).random(200) < 0.7
    soft = with_soft_labels(Y, P, eligible, quota=0.5, min_score=0.8)
    known = ~np.isnan(Y)
    np.testing.assert_array_equal(soft[known], Y[known])
    added = ~np.isnan(soft) & ~known
    np.testing.assert_array_equal(soft[added], P[added])
    assert added[eligible].any()
    assert not added[~eligible].any()
    for k in range(3):
        calls = (eligible & (Y[:, k] == 1)).sum()
        others = eligible & ~known[:, k] & ~added[:, k]
        high = eligible & ~known[:, k] & (P[:, k] >= 0.8)
        assert added[:, k].sum() == min(round(0.5 * calls), high.sum())
        assert P[added[:, k], k].min() >= 0.8
        if added[:, k].sum() == round(0.5 * calls):
            assert P[added[:, k], k].min() >= P[others, k].max()


def test_species_without_a_call_gets_no_soft_labels() -> None:
    Y = np.array([[np.nan, 1.0], [np.nan, np.nan]])
    soft = with_soft_labels(Y, np.full(Y.shape, 0.9), np.ones(2, bool))
    assert np.isnan(soft[:, 0]).all()
    assert soft[1, 1] == 0.9


def test_soft_label_is_never_a_known_call() -> None:
    Y = np.array([[1.0], [np.nan]], np.float32)
    soft = with_soft_labels(Y, np.ones(Y.shape), np.ones(2, bool))
    assert 0.999 < soft[1, 0] < 1


class Twins:
    """A member on pairs of nearly equal windows in two folds; only one of a pair has labels.

    Labels are random, so that the labels of other windows say nothing about those of a window. But the model
    of the one fold has seen the labels of the other, and can hand them on to the twins in its own fold.
    """

    name, scorer = "twins", None

    def __init__(self, n_pairs: int = 120) -> None:
        rng = np.random.default_rng(0)
        place = rng.normal(size=(n_pairs, 200))
        self.X = np.concatenate([place, place + 0.01 * rng.normal(size=place.shape)]).astype(np.float32)
        fold = rng.permuted(np.arange(n_pairs) % N_FOLDS)
        self.fold = np.concatenate([fold, 1 - fold])
        self.Y = np.full((2 * n_pairs, 1), np.nan)
        self.Y[:n_pairs, 0] = rng.permuted(np.arange(n_pairs) % 2)
        self.task: Any = SimpleNamespace(
            fold_of_window=self.fold, labels=self.Y, n_folds=N_FOLDS, unlabelled={}
        )

    def fit(self, labels: TrainingLabels) -> CrossFit:
        self.models = []
        for k, Y in enumerate(labels.outside):
            used = self.fold != k
            self.models.append(RidgeDiscriminant(alpha=10.0).fit(self.X[used], Y[used]))
        P = np.stack([model.predict_proba(self.X) for model in self.models])
        return CrossFit(P[self.fold, np.arange(len(self.X))], seconds=0.0)

    def cross_fit(self, task: Any, args: Any) -> CrossFit:
        return self.fit(TrainingLabels.of(self.Y, N_FOLDS))

    def teach(self, task: Any) -> Iterator[np.ndarray]:
        for model in self.models:
            yield model.predict_proba(self.X)

    def refit(self, task: Any, args: Any, labels: TrainingLabels, number: int) -> CrossFit:
        return self.fit(labels)

    def auc(self, result: CrossFit) -> float:
        known = ~np.isnan(self.Y[:, 0])
        return float(roc_auc_score(self.Y[known, 0], result.scores[known, 0]))


class Leaking(Twins):
    """The same, but its labels come from out-of-fold scores."""

    def teach(self, task: Any) -> Iterator[np.ndarray]:
        P = np.stack([model.predict_proba(self.X) for model in self.models])
        for _ in range(N_FOLDS):
            yield P[self.fold, np.arange(len(self.X))]


@pytest.mark.parametrize(("member", "low", "high"), [(Twins(), 0.35, 0.65), (Leaking(), 0.9, 1.0)])
def test_labels_do_not_leak_into_the_fold_that_they_are_scored_on(
    member: Twins, low: float, high: float
) -> None:
    """Nothing can be learned here. Labels from out-of-fold scores seem to make the model good."""
    first = member.cross_fit(member.task, None)
    assert 0.35 < member.auc(first) < 0.65
    trained: Any = member  # it has neither flags nor files, as members of commands do
    with mock.patch.object(self_training, "with_soft_labels", soft_labels_above_median):
        found = self_training.self_train(trained, member.task, Namespace(self_train=1), first)
    assert min(found.config["self_training"]["n_soft_labels"]) > 20
    assert low <= member.auc(found) <= high


def soft_labels_above_median(Y: np.ndarray, P: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    return with_soft_labels(Y, P, eligible, min_score=float(np.median(P)))
