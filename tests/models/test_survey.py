"""Samples of windows to verify, and estimates from the verdicts."""

import numpy as np
import pytest
from scipy.special import expit

from models.survey import (
    HIGH,
    RANDOM,
    UNCERTAIN,
    Verified,
    divide_by_score,
    draw_sample,
    estimate,
    threshold_for_precision,
)


def population(
    rng: np.random.Generator, n: int = 3000, prevalence: float = 0.08, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of windows; scores are calibrated if `shift` is 0."""
    present = rng.random(n) < prevalence
    x = rng.normal(size=n) + 2.5 * present
    return expit(2.5 * x - 2.5**2 / 2 + np.log(prevalence / (1 - prevalence)) + shift), present


def verdicts(present: np.ndarray, window: np.ndarray) -> np.ndarray:
    found = np.full(len(present), np.nan)
    found[window] = present[window]
    return found


def test_sample_has_different_windows_for_three_reasons() -> None:
    rng = np.random.default_rng(0)
    p, _ = population(rng)
    sample = draw_sample(p, 40, place=np.repeat(np.arange(30), 100), threshold=0.5, rng=rng)
    assert len(set(sample.window)) == 40
    assert [int((sample.reason == reason).sum()) for reason in (HIGH, UNCERTAIN, RANDOM)] == [10, 10, 20]
    uncertain, high = (p[sample.window[sample.reason == reason]] for reason in (UNCERTAIN, HIGH))
    assert np.abs(uncertain - 0.5).max() < 0.25
    assert high.min() > np.quantile(p, 0.95)


def test_windows_chosen_for_their_score_are_spread_over_places() -> None:
    p = np.linspace(0.9, 0.1, 100)
    place = np.repeat([0, 1, 2, 3], 25)  # place 0 has the highest scores
    sample = draw_sample(p, 16, place=place, threshold=0.5, rng=np.random.default_rng(0))
    assert sorted(place[sample.window[sample.reason == HIGH]]) == [0, 1, 2, 3]


def test_random_windows_of_a_stratum_are_spread_over_places() -> None:
    place = np.tile(np.arange(10), 30)
    sample = draw_sample(np.full(300, 0.2), 60, place=place, threshold=0.5, rng=np.random.default_rng(0))
    counts = np.bincount(place[sample.window[sample.reason == RANDOM]], minlength=10)
    assert counts.min() >= 2
    assert counts.max() <= 4


def test_inclusion_probabilities_are_those_of_repeated_draws() -> None:
    p, _ = population(np.random.default_rng(1), n=200)
    drawn, stated = np.zeros(200), np.zeros(200)
    n_repeats = 600
    for seed in range(n_repeats):
        sample = draw_sample(p, 30, place=np.zeros(200, int), threshold=0.5, rng=np.random.default_rng(seed))
        drawn[sample.window] += 1 / n_repeats
        stated[sample.window] = sample.inclusion_probability()
    assert np.abs(drawn - stated).max() < 0.1


def test_no_stratum_crosses_the_threshold() -> None:
    p, _ = population(np.random.default_rng(0))
    stratum = divide_by_score(p, 8, threshold=0.3)
    assert set(stratum[p < 0.3]).isdisjoint(stratum[p >= 0.3])
    assert 7 <= len(set(stratum)) <= 9
    order = np.argsort(p)
    assert (np.diff(stratum[order]) >= 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 50])
def test_small_samples_have_as_many_windows_as_there_are(n: int) -> None:
    p = np.array([0.1, 0.2, 0.9, 0.4])
    sample = draw_sample(p, n, place=np.zeros(4, int), threshold=0.5, rng=np.random.default_rng(0))
    assert len(set(sample.window)) == min(n, 4)


@pytest.mark.parametrize("shift", [-1.5, 0.0, 1.5])
def test_intervals_contain_the_truth_and_the_estimate_is_unbiased(shift: float) -> None:
    inside: list[list[bool]] = []
    errors = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        p, present = population(rng, shift=shift)
        sample = draw_sample(p, 60, place=np.zeros(len(p), int), threshold=0.5, rng=rng)
        verified = Verified.of(p, sample.stratum, verdicts(present, sample.window), rng)
        found = estimate(verified, 0.5, rng)
        truth = (
            present[p >= 0.5].mean(),
            present[p >= 0.5].sum() / present.sum(),
            present.mean(),
        )
        inside.append([e.low <= t <= e.high for e, t in zip(found, truth, strict=True)])
        errors.append(found.density.value - truth[2])
    assert np.mean(inside, axis=0).min() >= 0.82  # 0.9 is stated; 60 repetitions vary by 0.04
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(60)


def test_all_windows_verified_gives_the_truth() -> None:
    rng = np.random.default_rng(0)
    p, present = population(rng, n=50, prevalence=0.3)
    sample = draw_sample(p, 50, place=np.zeros(50, int), threshold=0.5, rng=rng)
    found = estimate(Verified.of(p, sample.stratum, verdicts(present, sample.window), rng), 0.5, rng)
    assert found.density == pytest.approx((present.mean(),) * 3)
    assert found.precision == pytest.approx((present[p >= 0.5].mean(),) * 3)


def test_strata_without_verdict_are_joined() -> None:
    rng = np.random.default_rng(0)
    p, present = population(rng)
    sample = draw_sample(p, 60, place=np.zeros(len(p), int), threshold=0.5, rng=rng)
    answered = sample.window[sample.stratum[sample.window] % 2 == 1]
    verified = Verified.of(p, sample.stratum, verdicts(present, answered), rng)
    known = ~np.isnan(verified.verdict)
    assert set(verified.stratum) == set(verified.stratum[known])
    assert verified.weight[known].sum() == pytest.approx(len(p))


def test_threshold_has_the_precision() -> None:
    p = np.linspace(0.01, 0.99, 99)
    present = p > 0.6
    verified = Verified.of(p, np.zeros(99, int), present.astype(float), np.random.default_rng(0))
    threshold = threshold_for_precision(verified, 0.8)
    assert present[p >= threshold].mean() >= 0.8
    assert present[p >= threshold - 0.02].mean() < 0.8
    none = Verified.of(p, np.zeros(99, int), np.zeros(99), np.random.default_rng(0))
    assert np.isnan(threshold_for_precision(none, 0.8))
