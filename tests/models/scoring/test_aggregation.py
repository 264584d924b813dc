import json

import numpy as np
from scipy.special import expit

from models.metrics import lrap
from models.scoring.aggregation import Readout, best_readout
from models.scoring.pooling import POOLINGS, pool


def windows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three windows for each of 300 recordings; in one the present species are loud, each at its level."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((300, 4)) < 0.3).astype(float)
    x = rng.normal(-2, 0.5, (300, 3, 4))
    x[np.arange(300), rng.integers(0, 3, 300)] += 2.5 * Y
    P = expit(x + np.array([-1.5, 0, 1.5, 0])).reshape(900, 4)
    return P, np.arange(300) * 3, Y, np.arange(300) % 5


def test_the_loudest_window_tells_unless_others_say_more() -> None:
    # In one window of three the present species is loud; absent ones are middling throughout.
    P, first, Y, fold = windows()
    readout, _, _ = best_readout(P, first, Y, fold, lrap)
    assert readout.pooling == "max"
    steady = np.repeat(pool(P, first, "max"), 3, axis=0)
    steady += np.random.default_rng(1).normal(0, 0.2, steady.shape)  # now each window says as much
    readout, _, _ = best_readout(np.clip(steady, 0, 1), first, Y, fold, lrap)
    assert readout.pooling != "max"


def test_what_is_no_more_than_noise_better_is_not_taken() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 4)) < 0.3).astype(float)
    once = expit(2 * Y + rng.normal(size=Y.shape))
    P = np.repeat(once, 2, axis=0) + 1e-3 * rng.random((600, 4))  # two windows that say the same
    readout, _, _ = best_readout(P / P.max(), np.arange(300) * 2, Y, np.arange(300) % 5, lrap)
    assert readout.pooling == "max"


def test_species_get_their_own_curves_only_where_those_rank_better() -> None:
    P, first, Y, fold = windows()
    readout, oof, score = best_readout(P, first, Y, fold, lrap)
    assert np.ptp(readout.calibrator.coef_[:, 1]) > 0.5
    assert score == lrap(Y, oof)
    assert score > max(lrap(Y, pool(P, first, how)) for how in POOLINGS) + 0.05

    # Levels that differ from fold to fold: what the other folds tell of a species is wrong in this one.
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 4)) < 0.3).astype(float)
    x = 2 * Y + rng.normal(size=Y.shape) + rng.normal(0, 2, (5, 4))[fold]
    readout, _, _ = best_readout(expit(x), np.arange(300), Y, fold, lrap)
    assert np.ptp(readout.calibrator.coef_, axis=0).max() == 0


def test_a_readout_survives_json() -> None:
    P, first, Y, fold = windows()
    readout, _, _ = best_readout(P, first, Y, fold, lrap)
    again = Readout.from_config(json.loads(json.dumps(readout.config())))
    np.testing.assert_array_equal(again(P, first), readout(P, first))
