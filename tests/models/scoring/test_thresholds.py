import json
from typing import Any

import numpy as np
import pytest

from features.common.errors import UserError
from models.metrics import MIN_POSITIVES
from models.scoring.thresholds import MARGIN, MAX_LEVEL, MIN_LEVEL, Thresholds

LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99)


def scores(seed: int = 0, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of three species: accurate, inaccurate, and unrelated to the scores.

    Even seeds give ties. Some cells are unknown.
    """
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 3)) < 0.3).astype(float)
    x = rng.normal(size=(n, 3)) + Y * [4.0, 1.0, 0.0]
    Y[rng.random(Y.shape) < 0.1] = np.nan
    P = 1 / (1 + np.exp(-x))
    return P.round(2) if seed % 2 == 0 else P, Y


def slow_thresholds(p: np.ndarray, y: np.ndarray, level: float) -> tuple[float, float]:
    """Return the thresholds of one species for a precision and a recall, computed from their definitions."""
    p, y = p[~np.isnan(y)], y[~np.isnan(y)]
    candidates = np.unique(p)
    precise = [t for t in candidates if (y[p >= t] == 1).sum() >= level * (p >= t).sum()]
    recalling = [t for t in candidates if (y[p >= t] == 1).sum() >= level * (y == 1).sum()]
    return precise[0] if precise else min(p[y == 0].max() + MARGIN, 1), recalling[-1]


@pytest.mark.parametrize("seed", range(10))
def test_thresholds_equal_their_definition_at_any_level(seed: int) -> None:
    P, Y = scores(seed)
    thresholds = Thresholds.fit(P, Y)
    for level in (*LEVELS, *np.random.default_rng(seed).uniform(MIN_LEVEL, MAX_LEVEL, 40)):
        slow = np.array([slow_thresholds(p, y, level) for p, y in zip(P.T, Y.T, strict=True)])
        np.testing.assert_array_equal(thresholds.at(precision=level), slow[:, 0])
        np.testing.assert_array_equal(thresholds.at(recall=level), slow[:, 1])


def test_level_equal_to_an_achieved_precision_or_recall_is_reached() -> None:
    """The ratio of two counts must not be rounded below the level with the same decimals."""
    for n in (5, 10, 20, 50, 100):
        for n_present in range(n // 2, n):
            P, Y = np.linspace(0.9, 0.1, n)[:, None], np.ones((n, 1))
            Y[n - 1 : n_present - 1 : -1] = 0
            level = float(f"{n_present / n:.2f}")
            if MIN_LEVEL <= level <= MAX_LEVEL and n_present >= MIN_POSITIVES:
                assert Thresholds.fit(P, Y).at(precision=level) == P[-1]
                assert Thresholds.fit(P, np.ones((n, 1))).at(recall=level) == P[n_present - 1]


def test_default_is_a_precision_of_0_7() -> None:
    thresholds = Thresholds.fit(*scores())
    np.testing.assert_array_equal(thresholds.at(), thresholds.at(precision=0.7))
    assert (thresholds.at() < thresholds.at(precision=0.95)).any()


@pytest.mark.parametrize("level", [0.49, 0.995, 1.0, 0.0, float("nan")])
def test_level_outside_the_range_is_an_error(level: float) -> None:
    thresholds = Thresholds.fit(*scores())
    for target in ("precision", "recall"):
        with pytest.raises(UserError, match=r"level .* is outside 0\.5 to 0\.99; give a level in this range"):
            thresholds.at(**{target: level})
    with pytest.raises(UserError, match=r"precision 0\.7 and recall 0\.5 are both given"):
        thresholds.at(precision=0.7, recall=0.5)


def test_threshold_of_unreachable_precision_is_above_all_negatives() -> None:
    P = np.linspace(0.9, 0.1, 11)[:, None]
    Y = (np.arange(11) % 2.0)[:, None]  # the highest score is a negative
    assert Thresholds.fit(P, Y).at(precision=0.9) == 0.9 + MARGIN
    P[0] = 1
    assert Thresholds.fit(P, Y).at(precision=0.9) == 1


def with_rare_species(n_positive: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of `scores`, and of one more species whose positives have the lowest scores."""
    P, Y = scores(1)
    rare = np.zeros((len(Y), 1))
    rare[:n_positive] = 1
    p = np.linspace(0.01, 0.6, len(Y))[:, None]
    return np.hstack([P, p]), np.hstack([Y, rare])


@pytest.mark.parametrize("n_positive", [1, 4])
def test_rare_species_has_the_threshold_of_all_species_together(n_positive: int) -> None:
    P, Y = with_rare_species(n_positive)
    thresholds = Thresholds.fit(P, Y)
    assert thresholds.n_positive.tolist() == [*(Y[:, :3] == 1).sum(axis=0), n_positive]
    assert thresholds.verifiable.tolist() == [True, True, True, False]
    for level in LEVELS:
        slow = slow_thresholds(P.ravel(), Y.ravel(), level)
        assert (thresholds.at(precision=level)[3], thresholds.at(recall=level)[3]) == slow
    # Its own threshold would be its lowest positive, so that all of its recordings would be reported.
    assert (P[:, 3] >= thresholds.at(recall=0.8)[3]).mean() < 0.8
    alone = Thresholds.fit(P[:, :3], Y[:, :3])
    np.testing.assert_array_equal(thresholds.at(recall=0.8)[:3], alone.at(recall=0.8))


def test_species_with_five_recordings_has_its_own_threshold() -> None:
    P, Y = with_rare_species(MIN_POSITIVES)
    thresholds = Thresholds.fit(P, Y)
    assert thresholds.verifiable.all()
    assert thresholds.at(recall=0.99)[3] == P[0, 3]


def test_species_without_positives_is_never_reported() -> None:
    P, Y = with_rare_species(0)
    thresholds = Thresholds.fit(P, Y)
    for level in LEVELS:
        assert thresholds.at(precision=level)[3] == thresholds.at(recall=level)[3] == 1
    assert not thresholds.verifiable[3]


def test_threshold_is_above_all_negatives_if_all_species_together_are_rare() -> None:
    P, Y = np.linspace(0.9, 0.1, 12).reshape(6, 2), np.zeros((6, 2))
    Y[[1, 5], [0, 1]] = 1
    thresholds = Thresholds.fit(P, Y)
    for level in LEVELS:
        assert thresholds.at(precision=level).tolist() == [0.9 + MARGIN] * 2
        assert thresholds.at(recall=level).tolist() == [0.9 + MARGIN] * 2
    assert not thresholds.verifiable.any()


def test_config_round_trip_keeps_the_thresholds() -> None:
    thresholds = Thresholds.fit(*with_rare_species(2))
    loaded = Thresholds.from_config(json.loads(json.dumps(thresholds.config())), 4)
    np.testing.assert_array_equal(loaded.n_positive, thresholds.n_positive)
    for level in LEVELS:
        np.testing.assert_array_equal(loaded.at(precision=level), thresholds.at(precision=level))
        np.testing.assert_array_equal(loaded.at(recall=level), thresholds.at(recall=level))


def test_only_levels_at_which_the_threshold_changes_are_stored() -> None:
    P = np.linspace(0.9, 0.1, 10)[:, None]
    Y = np.array([1, 1, 1, 1, 0, 1, 0, 0, 0, 0.0])[:, None]
    config = Thresholds.fit(P, Y).config()
    assert config["n_positive"] == [5]
    (precision,), (recall,) = config["precision"], config["recall"]
    # Precisions from the lowest score on; 4/5 at the fifth score is below 5/6 at the sixth.
    assert precision["level"] == [5 / 10, 5 / 9, 5 / 8, 5 / 7, 5 / 6, 1]
    assert precision["threshold"] == P[[9, 8, 7, 6, 5, 3], 0].tolist()
    assert recall["level"] == [0.2, 0.4, 0.6, 0.8, 1]
    assert recall["threshold"] == P[[0, 1, 2, 3, 5], 0].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_positive": [5]}, "n_positive is not one count for each of 2 species"),
        ({"n_positive": [5, -1]}, "n_positive is not one count"),
        ({"n_positive": [5, 0.5]}, "n_positive is not one count"),
        ({"precision": []}, "precision thresholds are not for 2 species"),
        ({"recall": [{"level": [1], "threshold": [0.5]}]}, "recall thresholds are not for 2 species"),
        ({"precision": ([0.5, 0.5, 1], [0.1, 0.2, 0.3])}, "precision thresholds are not increasing levels"),
        ({"precision": ([0.5, 1], [0.2, 0.1])}, "precision thresholds are not increasing levels"),
        ({"recall": ([0.5, 1], [0.1, 0.2])}, "recall thresholds are not increasing levels"),
        ({"recall": ([0.5, 0.9], [0.2, 0.1])}, "recall thresholds are not increasing levels"),
        ({"recall": ([0, 1], [0.2, 0.1])}, "recall thresholds are not increasing levels"),
        ({"recall": ([0.5, 1], [1.2, 0.1])}, "recall thresholds are not increasing levels"),
        ({"recall": ([0.5, 1], [0.2, -0.1])}, "recall thresholds are not increasing levels"),
        ({"recall": ([0.5, 1], [0.2])}, "recall thresholds are not increasing levels"),
        ({"recall": ([float("nan"), 1], [0.2, 0.1])}, "recall thresholds are not increasing levels"),
        ({"recall": ([0.5, 1], [0.2, float("nan")])}, "recall thresholds are not increasing levels"),
        ({"recall": ([], [])}, "recall thresholds are not increasing levels"),
        ({"recall": ([[1]], [[1]])}, "recall thresholds are not increasing levels"),
    ],
)
def test_invalid_config_is_rejected(changes: dict[str, Any], message: str) -> None:
    config = Thresholds.fit(*[table[:, :2] for table in scores()]).config()
    Thresholds.from_config(config, 2)
    for name, value in changes.items():
        if isinstance(value, tuple):
            config[name][1] = dict(zip(("level", "threshold"), value, strict=True))
        else:
            config[name] = value
    with pytest.raises(ValueError, match=message):
        Thresholds.from_config(config, 2)


def test_config_without_thresholds_is_rejected() -> None:
    config = Thresholds.fit(*scores()).config()
    for name in config:
        with pytest.raises(KeyError, match=name):
            Thresholds.from_config({key: config[key] for key in config if key != name}, 3)
