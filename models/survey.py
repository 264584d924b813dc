"""Samples of windows to verify, and estimates of the windows with a species from their verdicts.

The windows are divided into strata by score. In each stratum, windows are drawn at random, so that the share
of verified windows with the species is an unbiased estimate for the stratum. The strata are narrow where the
scores are uncertain, because there the same number of verdicts reduces the error most.

References
----------
.. [1] Cochran (1977), "Sampling techniques", 3rd edition, chapters 5 and 5A.
.. [2] Navine et al. (2024), "All thresholds barred: direct estimation of call density in bioacoustic data".
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from scipy.special import expit, logit

from models.logistic import IDENTITY, fit_logistic

PER_STRATUM = 3  # windows drawn at random from a stratum; fewer give no estimate of its error
MIN_SPREAD = 0.02  # smallest p (1 - p) that is assumed for a window; no score excludes the species
PRIOR_WEIGHT = 2.0  # the mean calibrated score of a stratum counts like this number of verdicts
SLOPE_SPREAD = 0.25  # standard deviation of the slope of the calibration curve before any verdict
MIN_SCORE = 1e-4  # scores are limited to this distance from 0 and 1 before they are calibrated
N_DRAWS = 4000  # random draws from which intervals are computed
INTERVAL = 0.9

RANDOM, HIGH, UNCERTAIN = "random", "high", "uncertain"


@dataclass(frozen=True)
class Sample:
    """Windows to verify for one species.

    Attributes
    ----------
    window : (n,) index of each window.
    reason : (n,) why it was chosen: `HIGH`, `UNCERTAIN` or `RANDOM`.
    stratum : (n_windows,) stratum of every window. Stratum 0 has the windows that were chosen for their
        score; all of them are in the sample. The others are ordered by score.
    """

    window: np.ndarray
    reason: np.ndarray
    stratum: np.ndarray

    def inclusion_probability(self) -> np.ndarray:
        """Return the probability with which each window of the sample was drawn from its stratum, (n,)."""
        of_window = self.stratum[self.window]
        n_drawn = np.bincount(of_window, minlength=self.stratum.max() + 1)
        return (n_drawn / np.maximum(np.bincount(self.stratum), 1))[of_window]


def draw_sample(
    p: np.ndarray, n: int, *, place: np.ndarray, threshold: float, rng: np.random.Generator
) -> Sample:
    """Return windows to verify: half at random, a quarter of the most uncertain, a quarter of the highest.

    Random windows are drawn systematically in the order of `place`, so that they are spread over sites and
    days. Of the windows that are chosen for their score, one per place is taken before the next of a place.

    Parameters
    ----------
    p : (n_windows,) scores of windows that do not overlap, as probabilities.
    n : number of windows to choose; all if there are fewer.
    place : (n_windows,) number of the site and day, in the order in which windows are to be spread.
    threshold : score from which the species is reported; no stratum has scores on both sides of it.
    rng : random generator.

    Examples
    --------
    >>> p = np.linspace(0, 1, 1000) ** 4
    >>> place = np.repeat(np.arange(10), 100)
    >>> sample = draw_sample(p, 40, place=place, threshold=0.5, rng=np.random.default_rng(0))
    >>> np.unique(sample.reason, return_counts=True)[1].tolist()
    [10, 20, 10]
    >>> bool((1 / sample.inclusion_probability()).sum().round() == 1000)
    True
    """
    n = min(n, len(p))
    n_random = n - n // 2
    n_uncertain = (n - n_random + 1) // 2
    uncertain = _spread(np.argsort(np.abs(p - 0.5), kind="stable"), place, n_uncertain)
    left = np.setdiff1d(np.arange(len(p)), uncertain)
    high = _spread(left[np.argsort(-p[left], kind="stable")], place, n - n_random - n_uncertain)
    chosen = np.concatenate([uncertain, high])
    left = np.setdiff1d(np.arange(len(p)), chosen)
    stratum = np.zeros(len(p), int)
    stratum[left] = 1 + divide_by_score(p[left], max(n_random // PER_STRATUM, 1), threshold)
    random = [chosen[:0]]
    sizes = np.bincount(stratum, minlength=2)[1:]
    for k, n_drawn in enumerate(_quota(n_random, sizes), start=1):
        inside = np.flatnonzero(stratum == k)
        inside = inside[np.argsort(place[inside], kind="stable")]
        positions = (np.arange(n_drawn) + rng.random()) * len(inside) / max(n_drawn, 1)
        random.append(inside[positions.astype(int)])
    drawn = np.concatenate(random)
    reasons = [UNCERTAIN] * len(uncertain) + [HIGH] * len(high) + [RANDOM] * len(drawn)
    return Sample(np.concatenate([chosen, drawn]), np.array(reasons), stratum)


def divide_by_score(p: np.ndarray, n_strata: int, threshold: float) -> np.ndarray:
    """Return the stratum of each window, from 0, in the order of the scores, (n_windows,).

    Each stratum has about the same sum of sqrt(p (1 - p)), the expected spread of the verdicts [1]_. Windows
    below and above the threshold are divided separately, so there can be one stratum more than `n_strata`.
    """
    spread = np.sqrt(np.maximum(p * (1 - p), MIN_SPREAD))
    stratum = np.zeros(len(p), int)
    n_used = 0
    for side in (p < threshold, p >= threshold):
        if not side.any():
            continue
        n_side = max(round(n_strata * spread[side].sum() / spread.sum()), 1)
        order = np.flatnonzero(side)[np.argsort(p[side], kind="stable")]
        share = (np.cumsum(spread[order]) - spread[order] / 2) / spread[order].sum()
        _, rank = np.unique((share * n_side).astype(int), return_inverse=True)  # without empty strata
        stratum[order] = n_used + rank
        n_used += rank.max() + 1
    return stratum


class Estimate(NamedTuple):
    """An estimate and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verified:
    """The verdicts on a sample of one species, and the windows that it was drawn from.

    Attributes
    ----------
    p : (n_windows,) scores of all windows.
    stratum : (n_windows,) stratum of each window, as in `Sample`.
    verdict : (n_windows,) 1 with the species, 0 without, nan for windows without a verdict.
    rate : (N_DRAWS, n_strata) random draws of the share of windows with the species in each stratum.
    """

    p: np.ndarray
    stratum: np.ndarray
    verdict: np.ndarray
    rate: np.ndarray

    @classmethod
    def of(cls, p: np.ndarray, stratum: np.ndarray, verdict: np.ndarray, rng: np.random.Generator) -> Self:
        """Return the verdicts with random draws of the share of each stratum.

        The scores are first calibrated by the verdicts, and each draw uses another calibration curve from the
        posterior of its slope and offset. The share is then drawn from a beta distribution, in which the mean
        calibrated score of the stratum counts like `PRIOR_WEIGHT` verdicts. So a stratum in which all
        verdicts are negative does not count as certainly without the species.

        A stratum without a verdict is joined with the next lower one that has a verdict. If there is none, it
        is joined with the next higher one.
        """
        known = ~np.isnan(verdict)
        stratum = _with_verdicts(stratum, known)
        size = np.bincount(stratum)
        n = np.bincount(stratum[known], minlength=len(size))
        positive = np.bincount(stratum[known], verdict[known], minlength=len(size))
        score = logit(np.clip(p, MIN_SCORE, 1 - MIN_SCORE))
        slope, offset = _calibration_draws(score[known], verdict[known], rng)  # (N_DRAWS,)
        typical = logit(np.clip(np.bincount(stratum, p) / size, MIN_SCORE, 1 - MIN_SCORE))
        prior = PRIOR_WEIGHT * np.clip(expit(slope[:, None] * typical + offset[:, None]), 1e-6, 1 - 1e-6)
        return cls(p, stratum, verdict, rng.beta(positive + prior, n - positive + PRIOR_WEIGHT - prior))

    @property
    def weight(self) -> np.ndarray:
        """Number of windows that each verified window stands for, (n_windows,)."""
        size = np.bincount(self.stratum)
        n = np.bincount(self.stratum[~np.isnan(self.verdict)], minlength=len(size))
        return (size / np.maximum(n, 1))[self.stratum]

    def count(
        self, part: np.ndarray, n_parts: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the Horvitz-Thompson estimates of the windows with the species in each part, and draws.

        The draws use the share of the whole stratum for the windows of a part without a verdict, so that a
        part with few verdicts has an interval too.

        Parameters
        ----------
        part : (n_windows,) number of the part of each window; -1 for windows in none.
        n_parts : number of parts.
        rng : random generator.

        Returns
        -------
        estimates : np.ndarray, shape (n_parts,)
        draws : np.ndarray, shape (N_DRAWS, n_parts)
        """
        known = ~np.isnan(self.verdict)
        positive = known & (self.verdict == 1) & (part >= 0)
        estimates = np.bincount(part[positive], self.weight[positive], minlength=n_parts)
        draws = np.empty((len(self.rate), n_parts))
        for k in range(n_parts):
            unknown = np.bincount(self.stratum[(part == k) & ~known], minlength=self.rate.shape[1])
            draws[:, k] = rng.binomial(unknown, self.rate).sum(axis=1) + (positive & (part == k)).sum()
        return estimates, draws


class SpeciesEstimates(NamedTuple):
    """What the verdicts on one species tell.

    Attributes
    ----------
    precision : share of the windows that reach the threshold which have the species.
    recall : share of the windows with the species that reach the threshold.
    density : share of all windows that have the species, the call density [2]_.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate


def estimate(verified: Verified, threshold: float, rng: np.random.Generator) -> SpeciesEstimates:
    """Return precision and recall at a threshold, and the call density.

    Precision and density are Horvitz-Thompson estimates. Recall is the median of the random draws, because
    the ratio of two such estimates is biased if few windows have the species.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(2000) ** 3
    >>> present = rng.random(2000) < p
    >>> sample = draw_sample(p, 100, place=np.zeros(2000, int), threshold=0.5, rng=rng)
    >>> verdict = np.full(2000, np.nan)
    >>> verdict[sample.window] = present[sample.window]
    >>> density = estimate(Verified.of(p, sample.stratum, verdict, rng), 0.5, rng).density
    >>> bool(density.low < present.mean() < density.high)
    True
    """
    above = (verified.p >= threshold).astype(int)
    n_above = above.sum()
    (below_estimate, above_estimate), draws = verified.count(above, 2, rng)
    total, drawn_total = below_estimate + above_estimate, draws.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return SpeciesEstimates(
            precision=interval(above_estimate / n_above, draws[:, 1] / n_above),
            recall=interval(float(np.nanmedian(draws[:, 1] / drawn_total)), draws[:, 1] / drawn_total),
            density=interval(total / len(above), drawn_total / len(above)),
        )


def interval(value: float, draws: np.ndarray) -> Estimate:
    """Return a value with the interval that contains the share `INTERVAL` of random draws, and the value.

    The interval is nan if no draw is finite.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Estimate(value, np.nan, np.nan)
    low, high = np.quantile(draws, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Estimate(float(value), float(np.fmin(low, value)), float(np.fmax(high, value)))


def threshold_for_precision(verified: Verified, precision: float) -> float:
    """Return the lowest verified score from which windows have at least this precision; nan if none has.

    The precision is the Horvitz-Thompson estimate.
    """
    known = np.flatnonzero(~np.isnan(verified.verdict))
    ascending = known[np.argsort(verified.p[known])]
    positives = (verified.weight * verified.verdict)[ascending]
    above = np.cumsum(positives[::-1])[::-1]  # estimated windows with the species from each score on
    n_above = len(verified.p) - np.searchsorted(np.sort(verified.p), verified.p[ascending])
    reached = ascending[above / n_above >= precision]
    return float(verified.p[reached].min()) if len(reached) else np.nan


def _calibration_draws(
    score: np.ndarray, verdict: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return random draws of the slope and offset that turn scores, in log odds, into calibrated log odds.

    They are from the normal approximation of the posterior. Both arrays have shape (N_DRAWS,).
    """
    x = score * SLOPE_SPREAD  # the prior of its slope has standard deviation 1
    prior = IDENTITY / [SLOPE_SPREAD, 1]
    mode = fit_logistic(x, verdict == 1, np.ones(len(x)), prior=prior, precision=1.0)
    q = expit(mode[0] * x + mode[1])
    inputs = np.stack([x, np.ones_like(x)])
    information = (inputs * q * (1 - q)) @ inputs.T + np.eye(2)
    slope, offset = rng.multivariate_normal(mode, np.linalg.inv(information), N_DRAWS).T
    return slope * SLOPE_SPREAD, offset


def _quota(n: int, sizes: np.ndarray) -> np.ndarray:
    """Return how many windows to draw from each stratum: equally many, as far as the sizes allow."""
    quota = np.zeros(len(sizes), int)
    while quota.sum() < min(n, sizes.sum()):
        quota[np.argmin(np.where(quota < sizes, quota, n + 1))] += 1
    return quota


def _spread(order: np.ndarray, place: np.ndarray, n: int) -> np.ndarray:
    """Return the first `n` windows of an order in which places take turns."""
    turn = np.empty(len(order), int)
    for own in np.unique(place[order]):
        rows = np.flatnonzero(place[order] == own)
        turn[rows] = np.arange(len(rows))
    return order[np.argsort(turn, kind="stable")][:n]


def _with_verdicts(stratum: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return strata that all have a verdict, by joining those without one to a neighbour."""
    n = np.bincount(stratum[known], minlength=stratum.max() + 1)
    found = np.flatnonzero(n)
    if not len(found):
        return np.zeros_like(stratum)
    nearest = found[np.maximum(np.searchsorted(found, np.arange(len(n)), side="right") - 1, 0)]
    nearest[0] = 0 if n[0] else found[-1]  # stratum 0 has high scores
    return np.unique(nearest[stratum], return_inverse=True)[1]
