"""Multi-label peers: known answers, and the dependence between labels that they use."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from pipelines.benchmarks.multilabel_peers import (
    N_NEIGHBOURS,
    BinaryRelevance,
    Chains,
    LabelPowerset,
    MLkNN,
    RAkEL,
    multilabel_models,
)


def examples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels: feature k says whether species k is present; nan instead of some 0."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 7)) < 0.3).astype(float)
    X = 3 * Y + rng.normal(size=Y.shape)
    Y[(Y == 0) & (rng.random(Y.shape) < 0.5)] = np.nan
    return X, Y


KINDS = [BinaryRelevance, LabelPowerset, RAkEL, Chains]


def test_peers_have_forests() -> None:
    models = multilabel_models(seed=0, n_jobs=1)
    assert [type(model) for model in models.values()] == [*KINDS, MLkNN]
    (X, Y), (X_new, _) = examples(60, 0), examples(5, 1)
    assert models["label powerset"].fit(X, Y).predict_proba(X_new).shape == (5, 7)


@pytest.mark.parametrize(
    "model", [*(kind(LogisticRegression()) for kind in KINDS), MLkNN()], ids=lambda m: type(m).__name__
)
def test_peers_learn(model: BaseEstimator) -> None:
    (X, Y), (X_new, Y_new) = examples(300, 0), examples(200, 1)
    P = model.fit(X, Y).predict_proba(X_new)
    assert P.shape == (200, 7)
    assert P.min() >= 0
    assert P.max() <= 1
    assert P[Y_new == 1].mean() > P[Y_new != 1].mean() + 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_species_that_are_never_or_always_present(kind: type[BinaryRelevance]) -> None:
    X, Y = examples(60, 0)
    Y[:, 0], Y[:, 1] = np.nan, 1
    P = kind(LogisticRegression()).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P[:, 0], 0)
    np.testing.assert_allclose(P[:, 1], 1)


def test_label_powerset_only_has_sets_that_occur() -> None:
    """Exactly one of two species is present, so that their probabilities sum to 1."""
    X = np.random.default_rng(0).normal(size=(80, 3))
    first = X[:, :1] > 0
    P = LabelPowerset(LogisticRegression()).fit(X, np.hstack([first, ~first])).predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1)


def test_rakel_has_each_species_in_as_many_sets() -> None:
    X, Y = examples(60, 0)
    sets = RAkEL(LogisticRegression()).fit(X, Y).sets_
    assert np.bincount(np.concatenate(sets)).tolist() == [6] * 7
    assert max(map(len, sets)) == 3


def test_mlknn_is_the_posterior_of_the_count() -> None:
    """A slow reference implementation of the paper's equations."""
    X, Y = examples(50, 0)
    model = MLkNN().fit(X, Y)
    Z, present = (X - X.mean(axis=0)) / X.std(axis=0), Y == 1
    x = X[:5] + 0.1
    for row, z in zip(model.predict_proba(x), (x - X.mean(axis=0)) / X.std(axis=0), strict=True):
        nearest = np.argsort(((Z - z) ** 2).sum(axis=1))[:N_NEIGHBOURS]
        for k in range(7):
            with_species, without = np.zeros(N_NEIGHBOURS + 1), np.zeros(N_NEIGHBOURS + 1)
            for i in range(len(X)):
                distance = ((Z - Z[i]) ** 2).sum(axis=1)
                distance[i] = np.inf
                count = present[np.argsort(distance)[:N_NEIGHBOURS], k].sum()
                (with_species if present[i, k] else without)[count] += 1
            c = present[nearest, k].sum()
            prior = (1 + present[:, k].sum()) / (2 + len(X))
            yes = prior * (1 + with_species[c]) / (N_NEIGHBOURS + 1 + with_species.sum())
            no = (1 - prior) * (1 + without[c]) / (N_NEIGHBOURS + 1 + without.sum())
            assert row[k] == pytest.approx(yes / (yes + no))
