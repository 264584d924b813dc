import numpy as np
import pytest

from models.scoring.thresholds import LEVELS, Thresholds


def scores(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two species, the second told far better than the first, and their truth."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 2)) < 0.3).astype(float)
    x = rng.normal(size=(n, 2)) + Y * [1.0, 4.0]
    return 1 / (1 + np.exp(-x)), Y


@pytest.mark.parametrize("level", LEVELS)
def test_a_threshold_keeps_its_precision_and_is_the_lowest_that_does(level: float) -> None:
    P, Y = scores()
    thresholds = Thresholds.fit(P, Y).precision[level]
    for k, threshold in enumerate(thresholds):
        found = P[:, k] >= threshold
        if not found.any():
            continue
        assert Y[found, k].mean() >= level
        for lower in np.unique(P[P[:, k] < threshold, k]):
            assert Y[P[:, k] >= lower, k].mean() < level


@pytest.mark.parametrize("level", LEVELS)
def test_a_threshold_finds_its_share_and_is_the_highest_that_does(level: float) -> None:
    P, Y = scores()
    for k, threshold in enumerate(Thresholds.fit(P, Y).recall[level]):
        present = P[Y[:, k] == 1, k]
        assert (present >= threshold).mean() >= level
        assert (present > threshold).mean() < level


def test_a_precision_out_of_reach_finds_nothing_that_training_lacked() -> None:
    P, Y = np.array([[0.9], [0.8], [0.7]]), np.array([[0.0], [1.0], [0.0]])
    (threshold,) = Thresholds.fit(P, Y).precision[0.9]
    assert 0.9 < threshold < 0.91


def test_unknown_cells_do_not_count() -> None:
    P, Y = np.array([[0.9], [0.8], [0.7]]), np.array([[np.nan], [1.0], [0.0]])
    assert Thresholds.fit(P, Y).precision[0.9] == [0.8]


def test_a_species_that_is_never_present_is_never_found() -> None:
    P, Y = np.array([[0.9], [0.2]]), np.zeros((2, 1))
    thresholds = Thresholds.fit(P, Y)
    assert thresholds.precision[0.5] > 0.9
    assert thresholds.recall[0.5] == [1.0]


def test_they_come_back_from_json() -> None:
    thresholds = Thresholds.fit(*scores())
    again = Thresholds.from_config(thresholds.config(), 2)
    for level in LEVELS:
        np.testing.assert_array_equal(again.precision[level], thresholds.precision[level])
        np.testing.assert_array_equal(again.recall[level], thresholds.recall[level])
    with pytest.raises(ValueError, match="other species"):
        Thresholds.from_config(thresholds.config(), 3)
