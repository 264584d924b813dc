import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from features.common.errors import UserError
from models.folds import make_folds, out_of_fold, split


@given(seed=st.integers(0, 10_000), n_groups=st.integers(5, 40), n_folds=st.integers(2, 5))
def test_groups_are_not_split_and_every_fold_is_used(seed: int, n_groups: int, n_folds: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 60)])
    Y = (rng.random((len(groups), 6)) < 0.2).astype(float)
    fold = make_folds(Y, groups, n_folds, seed=seed)
    assert set(fold) == set(range(n_folds))
    for group in range(n_groups):
        assert len(set(fold[groups == group])) == 1


def test_species_and_sizes_are_balanced() -> None:
    rng = np.random.default_rng(0)
    Y = np.zeros((300, 24))
    for k in range(24):  # the numbers of positives are similar to those of RFCX
        Y[rng.choice(300, 10 + k, replace=False), k] = 1
    fold = make_folds(Y, np.arange(300), 5, seed=0)
    counts = np.array([Y[fold == k].sum(axis=0) for k in range(5)])
    expected = Y.sum(axis=0) / 5
    assert np.abs(counts - expected).max() <= 2
    assert np.bincount(fold).min() >= 50


def test_species_are_balanced_better_than_in_random_folds() -> None:
    rng = np.random.default_rng(1)
    Y = (rng.random((200, 20)) < 0.06).astype(float)

    def spread(fold: np.ndarray) -> float:
        return float(np.std([Y[fold == k].sum(axis=0) for k in range(5)], axis=0).mean())

    random_spreads = [spread(rng.permutation(np.arange(200) % 5)) for _ in range(20)]
    assert spread(make_folds(Y, np.arange(200), 5, seed=0)) < 0.5 * min(random_spreads)


@pytest.mark.parametrize("n_folds", [0, 1, 4])
def test_invalid_number_of_folds_is_rejected(n_folds: int) -> None:
    with pytest.raises(UserError, match=f"cannot make {n_folds} folds of 3 .* --folds between 2 and 3"):
        make_folds(np.ones((6, 2)), np.array([0, 0, 1, 1, 2, 2]), n_folds, seed=0)


def test_single_group_is_rejected_with_a_remedy() -> None:
    with pytest.raises(
        UserError, match="a single recording or group; add recordings, or give them different"
    ):
        make_folds(np.ones((6, 2)), np.zeros(6), 2, seed=0)


class LinearScores(LinearRegression):
    predict_proba = LinearRegression.predict


def test_windows_are_scored_by_models_of_other_folds() -> None:
    """Labels are random and each window has its own feature, so a model can only predict training windows."""
    rng = np.random.default_rng(0)
    Y, X = rng.normal(size=(40, 1)), np.eye(40)
    fold = np.arange(40) % 5
    *_, P = out_of_fold(LinearScores(), split(X, Y, fold))
    in_sample = LinearRegression().fit(X, Y).predict(X)
    assert np.corrcoef(in_sample[:, 0], Y[:, 0])[0, 1] > 0.99
    assert np.corrcoef(P[:, 0], Y[:, 0])[0, 1] < 0.5
    for k in range(5):
        expected = LinearRegression().fit(X[fold != k], Y[fold != k]).predict(X[fold == k])
        np.testing.assert_allclose(P[fold == k], expected)
