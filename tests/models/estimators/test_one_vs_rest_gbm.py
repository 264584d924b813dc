from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from features.common.errors import UserError
from models.estimators.labels import label_weights
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.metrics import lrap


def windows(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and truth; two thirds of the labels are unknown.

    Feature k is higher if species k is present.
    """
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 4)) < 0.15).astype(float)
    X = rng.normal(size=(n, 12)).astype(np.float32)
    X[:, :4] += 2.5 * truth
    Y = np.where(rng.random((n, 4)) < 1 / 3, truth, np.nan)
    return X, Y, truth


FAST = {"n_estimators": 60, "min_child_samples": 5, "feature_fraction": 0.8}


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_partial_labels_are_learned(weight: float) -> None:
    X, Y, _ = windows()
    X_new, _, truth = windows(seed=1)
    P = OneVsRestGBM(**FAST, weak_negative_weight=weight).fit(X, Y).predict_proba(X_new)
    assert P.shape == truth.shape
    assert P.min() >= 0
    assert P.max() <= 1
    for k in range(4):
        assert roc_auc_score(truth[:, k], P[:, k]) > 0.85


def test_unknown_windows_with_weight_0_are_left_out() -> None:
    X, Y, _ = windows()
    known = ~np.isnan(Y[:, 1])
    model = OneVsRestGBM(**FAST, weak_negative_weight=0.0)
    whole = model.fit(X, Y).predict_proba(X)[:, 1]
    moved = X.copy()
    moved[~known] = moved[~known][::-1]
    again = clone(model).fit(moved, Y).predict_proba(X)[:, 1]
    # Bins are the same even if computed from all windows, because only the order of the values changes.
    np.testing.assert_array_equal(whole, again)


def test_bins_resolve_the_windows_with_a_species() -> None:
    """Two species are separated although their calls differ only by a small fraction of a feature's range."""
    rng = np.random.default_rng(0)
    n, n_calls = 8000, 40
    X = rng.normal(size=(n, 3)).astype(np.float32)
    # With bins computed from all windows, all calls would be in one bin.
    X[:n_calls, 0] = 100 + rng.normal(0, 0.01, n_calls)
    Y = np.full((n, 3), np.nan)
    Y[:, 2] = 0  # so that every window has a known label
    is_higher = X[:n_calls, 0] > 100
    Y[:n_calls, 0], Y[:n_calls, 1] = is_higher, ~is_higher
    P = OneVsRestGBM(**FAST).fit(X, Y).predict_proba(X[:n_calls])
    assert roc_auc_score(is_higher, P[:, 0]) > 0.95


def test_unknown_label_with_weight_1_is_a_negative() -> None:
    X, Y, _ = windows()
    strong = OneVsRestGBM(**FAST, weak_negative_weight=1.0).fit(X, Y).predict_proba(X)
    as_zeros = OneVsRestGBM(**FAST).fit(X, np.nan_to_num(Y)).predict_proba(X)
    np.testing.assert_array_equal(strong, as_zeros)
    weak = OneVsRestGBM(**FAST, weak_negative_weight=0.05).fit(X, Y).predict_proba(X)
    assert weak.mean() > strong.mean()


def test_few_weak_negatives_represent_all() -> None:
    """All other windows are used, and the weak negatives that are drawn have the weight of all of them."""
    X, Y, _ = windows(3000)
    model = OneVsRestGBM(**FAST, max_weak_negatives=100, random_state=3)
    for k, weight in enumerate(label_weights(Y, model.weak_negative_weight).T):
        rows, drawn = model._draw_weak_negatives(weight, np.random.default_rng(k))
        weak = weight < 1
        assert (np.diff(rows) > 0).all()  # none is used twice
        np.testing.assert_array_equal(rows[~weak[rows]], np.flatnonzero(~weak))
        np.testing.assert_array_equal(drawn[~weak[rows]], 1)
        assert weak[rows].sum() == 100
        assert drawn[weak[rows]].sum() == pytest.approx(weight[weak].sum())
    X_new, _, truth = windows(seed=1)
    few, every = (
        lrap(truth, clone(model).set_params(max_weak_negatives=n).fit(X, Y).predict_proba(X_new))
        for n in (100, 3000)
    )
    assert few > every - 0.02


def test_unknown_label_in_a_window_with_a_call_is_a_negative() -> None:
    X, Y, _ = windows()
    has_call = (Y == 1).any(axis=1)
    assert np.isnan(Y[has_call]).any()
    assert np.isnan(Y[~has_call]).any()
    stated = np.where(has_call[:, None] & np.isnan(Y), 0.0, Y)
    np.testing.assert_array_equal(*(OneVsRestGBM(**FAST).fit(X, y).predict_proba(X) for y in (Y, stated)))


def test_scores_do_not_depend_on_n_jobs() -> None:
    X, Y, _ = windows()
    one, three = (OneVsRestGBM(**FAST, n_jobs=n).fit(X, Y) for n in (1, 3))
    np.testing.assert_array_equal(one.predict_proba(X), three.predict_proba(X))


def test_species_of_one_class_has_constant_scores() -> None:
    X, Y, _ = windows()
    Y[:, 2] = np.where(Y[:, 2] == 1, np.nan, Y[:, 2])  # never present
    Y[:, 3] = 1  # always present
    P = OneVsRestGBM(**FAST).fit(X, Y).predict_proba(X)
    assert len(np.unique(P[:, 2])) == 1
    assert P[0, 2] < 0.01
    assert len(np.unique(P[:, 3])) == 1
    assert P[0, 3] > 0.99


def test_probability_of_species_with_only_positives_is_the_fraction_of_positives() -> None:
    X, Y, _ = windows()
    Y[:, 1] = np.nan
    Y[:30, 1] = 1
    P = OneVsRestGBM(**FAST, weak_negative_weight=0.0).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(P[:, 1], 30.5 / 601)


def test_saved_model_scores_the_same(tmp_path: Path) -> None:
    X, Y, _ = windows()
    Y[:, 2] = 0
    model = OneVsRestGBM(**FAST).fit(X, Y)
    model.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "trees.json",
        "trees_s0.txt",
        "trees_s1.txt",
        "trees_s3.txt",
    ]
    loaded = OneVsRestGBM.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.get_params() == model.get_params()
    assert "n_jobs" not in (tmp_path / "trees.json").read_text()


def test_contributions_and_mean_add_up_to_log_odds() -> None:
    X, Y, _ = windows()
    model = OneVsRestGBM(**FAST).fit(X, Y)
    rest = model.decision_function(X)[:, 1] - model.contributions(X, 1).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0])
    assert model.importance()[1].argmax() == 1


def test_rejection_by_lightgbm_is_an_error() -> None:
    X, Y, _ = windows()
    with pytest.raises(UserError, match=r"LightGBM cannot fit the trees \(.*learning_rate.*\); change"):
        OneVsRestGBM(learning_rate=-1.0).fit(X, Y)


def test_invalid_use_is_rejected() -> None:
    X, Y, _ = windows()
    with pytest.raises(ValueError, match="X has 600 windows but Y has 599"):
        OneVsRestGBM().fit(X, Y[:-1])
    with pytest.raises(NotFittedError):
        OneVsRestGBM().predict_proba(X)
    with pytest.raises(ValueError, match="X has 5 features, but OneVsRestGBM is expecting 12"):
        OneVsRestGBM(**FAST).fit(X, Y).predict_proba(X[:, :5])


def test_defaults_rank_as_well_as_extra_trees_in_small_tables() -> None:
    """With few features, a tenth of them per tree would be too few."""
    ours, peer = [], []
    for seed in range(3):
        X, Y = make_multilabel_classification(700, n_features=20, random_state=seed)
        (X, X_test), (Y, Y_test) = np.split(X, 2), np.split(Y.astype(float), 2)
        forest = ExtraTreesClassifier(200, random_state=seed).fit(X, Y)
        P = np.column_stack([p[:, 1] for p in forest.predict_proba(X_test)])
        peer.append(lrap(Y_test, P))
        ours.append(lrap(Y_test, OneVsRestGBM(random_state=seed).fit(X, Y).predict_proba(X_test)))
    assert np.mean(ours) >= np.mean(peer)
