from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from models.estimators.one_vs_rest_gbm import OneVsRestGBM


def windows(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels of which two thirds are unknown, and the truth; species k shows in column k."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 4)) < 0.15).astype(float)
    X = rng.normal(size=(n, 12)).astype(np.float32)
    X[:, :4] += 2.5 * truth
    Y = np.where(rng.random((n, 4)) < 1 / 3, truth, np.nan)
    return X, Y, truth


FAST = {"n_estimators": 60, "min_child_samples": 5, "feature_fraction": 0.8}


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_it_learns_from_partial_labels(weight: float) -> None:
    X, Y, _ = windows()
    X_new, _, truth = windows(seed=1)
    P = OneVsRestGBM(**FAST, weak_negative_weight=weight).fit(X, Y).predict_proba(X_new)
    assert P.shape == truth.shape
    assert P.min() >= 0
    assert P.max() <= 1
    for k in range(4):
        assert roc_auc_score(truth[:, k], P[:, k]) > 0.85


def test_weight_0_leaves_unknown_windows_out() -> None:
    X, Y, _ = windows()
    known = ~np.isnan(Y[:, 1])
    model = OneVsRestGBM(**FAST, weak_negative_weight=0.0, linear_share=0)
    whole = model.fit(X, Y).predict_proba(X)[:, 1]
    moved = X.copy()
    moved[~known] = moved[~known][::-1]  # where they stand in the table does not matter either
    again = clone(model).fit(moved, Y).predict_proba(X)[:, 1]
    # Bins are shared by all windows, so only the same set of values gives the same bins.
    np.testing.assert_array_equal(whole, again)


def test_bins_are_told_by_the_windows_that_show_a_species() -> None:
    """A call that tells the species by what differs within a thousandth of the windows' range is learned."""
    rng = np.random.default_rng(0)
    n, n_calls = 8000, 40
    X = rng.normal(size=(n, 3)).astype(np.float32)
    X[:n_calls, 0] = 100 + rng.normal(0, 0.01, n_calls)  # loud; of all windows' bins they fill one
    Y = np.full((n, 3), np.nan)
    Y[:, 2] = 0  # so that every window takes part
    shows = X[:n_calls, 0] > 100
    Y[:n_calls, 0], Y[:n_calls, 1] = shows, ~shows
    P = OneVsRestGBM(**FAST).fit(X, Y).predict_proba(X[:n_calls])
    assert roc_auc_score(shows, P[:, 0]) > 0.95


def test_a_weak_negative_is_a_negative_of_its_weight() -> None:
    X, Y, _ = windows()
    strong = OneVsRestGBM(**FAST, weak_negative_weight=1.0).fit(X, Y).predict_proba(X)
    as_zeros = OneVsRestGBM(**FAST).fit(X, np.nan_to_num(Y)).predict_proba(X)
    np.testing.assert_array_equal(strong, as_zeros)
    weak = OneVsRestGBM(**FAST, weak_negative_weight=0.05).fit(X, Y).predict_proba(X)
    assert weak.mean() > strong.mean()


def test_scores_do_not_depend_on_the_number_of_workers() -> None:
    X, Y, _ = windows()
    one, three = (OneVsRestGBM(**FAST, n_jobs=n).fit(X, Y) for n in (1, 3))
    np.testing.assert_array_equal(one.predict_proba(X), three.predict_proba(X))


def test_a_species_of_one_class_is_a_constant() -> None:
    X, Y, _ = windows()
    Y[:, 2] = np.where(Y[:, 2] == 1, np.nan, Y[:, 2])  # never seen
    Y[:, 3] = 1  # always there
    P = OneVsRestGBM(**FAST).fit(X, Y).predict_proba(X)
    assert len(np.unique(P[:, 2])) == 1
    assert P[0, 2] < 0.01
    assert len(np.unique(P[:, 3])) == 1
    assert P[0, 3] > 0.99


def test_a_species_of_tp_windows_only_is_as_rare_as_they_are() -> None:
    X, Y, _ = windows()
    Y[:, 1] = np.nan
    Y[:30, 1] = 1
    P = OneVsRestGBM(**FAST, weak_negative_weight=0.0).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P[:, 1], 30.5 / 601)


def test_a_saved_model_scores_the_same_and_is_only_data(tmp_path: Path) -> None:
    X, Y, _ = windows()
    Y[:, 2] = 0
    model = OneVsRestGBM(**FAST).fit(X, Y)
    model.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "linear.npz",
        "model.json",
        "s0.txt",
        "s1.txt",
        "s3.txt",
    ]
    loaded = OneVsRestGBM.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.get_params() == model.get_params()
    assert "n_jobs" not in (tmp_path / "model.json").read_text()


def test_trees_alone_are_saved_without_a_linear_part(tmp_path: Path) -> None:
    X, Y, _ = windows()
    model = OneVsRestGBM(**FAST, linear_share=0).fit(X, Y)
    model.save(tmp_path)
    assert not (tmp_path / "linear.npz").exists()
    np.testing.assert_array_equal(OneVsRestGBM.load(tmp_path).predict_proba(X), model.predict_proba(X))


def test_misuse_is_named() -> None:
    X, Y, _ = windows()
    with pytest.raises(ValueError, match="X has 600 windows and Y 599"):
        OneVsRestGBM().fit(X, Y[:-1])
    with pytest.raises(ValueError, match="linear_share 1 is not from 0 to less than 1"):
        OneVsRestGBM(linear_share=1).fit(X, Y)
    with pytest.raises(NotFittedError):
        OneVsRestGBM().predict_proba(X)
    with pytest.raises(ValueError, match="X has 5 features, but OneVsRestGBM is expecting 12"):
        OneVsRestGBM(**FAST).fit(X, Y).predict_proba(X[:, :5])
