import numpy as np
import pytest

from models.scoring.thresholds import LEVELS, Thresholds


def scores(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of two species; the scores of the second are much more accurate."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 2)) < 0.3).astype(float)
    x = rng.normal(size=(n, 2)) + Y * [1.0, 4.0]
    return 1 / (1 + np.exp(-x)), Y


@pytest.mark.parametrize("level", LEVELS)
def test_precision_threshold_is_the_lowest_with_this_precision(level: float) -> None:
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
def test_recall_threshold_is_the_highest_with_this_recall(level: float) -> None:
    P, Y = scores()
    for k, threshold in enumerate(Thresholds.fit(P, Y).recall[level]):
        present = P[Y[:, k] == 1, k]
        assert (present >= threshold).mean() >= level
        assert (present > threshold).mean() < level


def test_threshold_of_unreachable_precision_is_above_all_negatives() -> None:
    P, Y = np.array([[0.9], [0.8], [0.7]]), np.array([[0.0], [1.0], [0.0]])
    (threshold,) = Thresholds.fit(P, Y).precision[0.9]
    assert 0.9 < threshold < 0.91


def test_unknown_cells_are_ignored() -> None:
    P, Y = np.array([[0.9], [0.8], [0.7]]), np.array([[np.nan], [1.0], [0.0]])
    assert Thresholds.fit(P, Y).precision[0.9] == [0.8]


def test_species_without_positives_is_never_reported() -> None:
    P, Y = np.array([[0.9], [0.2]]), np.zeros((2, 1))
    thresholds = Thresholds.fit(P, Y)
    assert thresholds.precision[0.5] > 0.9
    assert thresholds.recall[0.5] == [1.0]


def test_config_round_trip_keeps_the_thresholds() -> None:
    thresholds = Thresholds.fit(*scores())
    loaded = Thresholds.from_config(thresholds.config(), 2)
    for level in LEVELS:
        np.testing.assert_array_equal(loaded.precision[level], thresholds.precision[level])
        np.testing.assert_array_equal(loaded.recall[level], thresholds.recall[level])
    with pytest.raises(ValueError, match="precision thresholds are not for 3 species"):
        Thresholds.from_config(thresholds.config(), 3)
