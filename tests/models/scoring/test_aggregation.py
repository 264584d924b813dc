import json

import numpy as np
import pytest
from scipy.special import expit

from models.metrics import lrap, macro_auc
from models.scoring.aggregation import Aggregation, best_aggregation
from models.scoring.pooling import POOLINGS, pool


def windows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return window scores, first windows, truth and folds of 300 recordings with three windows each.

    Present species have high scores in one of the windows. The level of the scores differs between species.
    """
    rng = np.random.default_rng(seed)
    Y = (rng.random((300, 4)) < 0.3).astype(float)
    x = rng.normal(-2, 0.5, (300, 3, 4))
    x[np.arange(300), rng.integers(0, 3, 300)] += 2.5 * Y
    P = expit(x + np.array([-1.5, 0, 1.5, 0])).reshape(900, 4)
    return P, np.arange(300) * 3, Y, np.arange(300) % 5


def test_max_pooling_is_chosen_unless_other_windows_are_informative() -> None:
    # Present species are audible in one of three windows.
    P, first, Y, fold = windows()
    aggregation, _, _ = best_aggregation(P, first, Y, fold=fold, metric=lrap)
    assert aggregation.pooling == "max"
    # Present species are audible in all windows, with independent noise.
    steady = np.repeat(pool(P, first, "max"), 3, axis=0)
    steady += np.random.default_rng(1).normal(0, 0.2, steady.shape)
    aggregation, _, _ = best_aggregation(np.clip(steady, 0, 1), first, Y, fold=fold, metric=lrap)
    assert aggregation.pooling != "max"


def test_difference_within_noise_does_not_change_the_pooling() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 4)) < 0.3).astype(float)
    once = expit(2 * Y + rng.normal(size=Y.shape))
    P = np.repeat(once, 2, axis=0) + 1e-3 * rng.random((600, 4))  # two windows with almost equal scores
    aggregation, _, _ = best_aggregation(
        P / P.max(), np.arange(300) * 2, Y, fold=np.arange(300) % 5, metric=lrap
    )
    assert aggregation.pooling == "max"


def test_species_have_separate_curves_only_if_they_rank_better() -> None:
    P, first, Y, fold = windows()
    aggregation, oof, score = best_aggregation(P, first, Y, fold=fold, metric=lrap)
    assert np.ptp(aggregation.calibrator.coef_[:, 1]) > 0.5
    assert score == lrap(Y, oof)
    assert score > max(lrap(Y, pool(P, first, how)) for how in POOLINGS) + 0.05

    # If the levels of species differ between folds, curves fitted on the other folds are wrong.
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 4)) < 0.3).astype(float)
    x = 2 * Y + rng.normal(size=Y.shape) + rng.normal(0, 2, (5, 4))[fold]
    aggregation, _, _ = best_aggregation(expit(x), np.arange(300), Y, fold=fold, metric=lrap)
    assert np.ptp(aggregation.calibrator.coef_, axis=0).max() == 0


def test_first_aggregation_is_used_if_the_metric_is_undefined() -> None:
    P, first, Y, fold = windows()
    aggregation, oof, score = best_aggregation(P, first, np.ones_like(Y), fold=fold, metric=macro_auc)
    assert np.isnan(score)
    assert aggregation.pooling == POOLINGS[0]
    # Without recordings of both classes, calibration leaves the scores unchanged.
    np.testing.assert_allclose(oof, pool(P, first, POOLINGS[0]))


def test_config_round_trip_keeps_the_scores() -> None:
    P, first, Y, fold = windows()
    aggregation, _, _ = best_aggregation(P, first, Y, fold=fold, metric=lrap)
    loaded = Aggregation.from_config(json.loads(json.dumps(aggregation.config())), 4)
    np.testing.assert_array_equal(loaded(P, first), aggregation(P, first))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling": "median", "calibration": [[1, 0], [1, 0]]}, "unknown pooling 'median'; use one of max"),
        ({"pooling": "max", "calibration": [[1, 0]]}, r"shape \(1, 2\) instead of \(2, 2\)"),
        ({"pooling": "max", "calibration": [[1, 0], [1, None]]}, "not finite"),
    ],
)
def test_invalid_config_is_rejected(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Aggregation.from_config(config, 2)
