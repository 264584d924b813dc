"""Label ranking average precision and its company, with unknown labels left out.

Throughout, Y is (n_recordings, n_species) with 1 present, 0 absent and nan unknown, and P its
scores. Unknown cells take no part in any ranking. A recording without a present species has no
LRAP (scikit-learn would call it a perfect 1), and a species of one class has neither AUC nor AP:
both are nan, and left out of every mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

N_BLOCKS = 10  # of recordings, whose spread says how sure a difference is
N_BOOTSTRAP = 2000
LEAST_POSITIVES = 5  # of a species whose calibration can be told
N_BINS = 10  # of probability
EPSILON = 1e-6  # probabilities are kept this far from 0 and 1 before the logarithm
ROWS_AT_A_TIME = 512  # of a ranking, which takes n_species ** 2 bytes each


def lrap_per_recording(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return the (n_recordings,) LRAP of each recording, nan where none is present.

    For each present species, the share of present species among all known ones that score at
    least as high; then the mean over the present. Tsoumakas, Katakis and Vlahavas (2010).
    """
    check_scores(Y, P)
    present, known = Y == 1, ~np.isnan(Y)
    value = np.full(len(Y), np.nan)
    rows = np.flatnonzero(present.any(axis=1))
    for block in np.array_split(rows, len(rows) // ROWS_AT_A_TIME + 1):
        scores, is_present = P[block], present[block]
        # at_least[r, i, j]: known species j scores at least as high as species i in recording r
        at_least = (scores[:, None, :] >= scores[:, :, None]) & known[block][:, None, :]
        precision = (at_least & is_present[:, None, :]).sum(axis=2) / np.maximum(at_least.sum(axis=2), 1)
        value[block] = (precision * is_present).sum(axis=1) / is_present.sum(axis=1)
    return value


def lrap(Y: np.ndarray, P: np.ndarray) -> float:
    """Return the mean LRAP over the recordings that have one; nan if none has."""
    return _mean(lrap_per_recording(Y, P))


def lwlrap(Y: np.ndarray, P: np.ndarray) -> float:
    """Return the label-weighted LRAP: each recording counts by its number of present species.

    The score of the RFCX challenge.
    """
    return _mean(lrap_per_recording(Y, P), weights=(Y == 1).sum(axis=1))


METRICS = {"lrap": lrap, "lwlrap": lwlrap}


def auc_per_species(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return the (n_species,) area under the ROC curve over known recordings."""
    return _per_species(roc_auc_score, Y, P)


def ap_per_species(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return the (n_species,) average precision over known recordings."""
    return _per_species(average_precision_score, Y, P)


@dataclass(frozen=True)
class Evaluation:
    """The scores of one table; `lrap_low` and `lrap_high` bound its 95 % bootstrap interval."""

    n_recordings: int
    """Recordings with a present species; the others cannot be ranked and are left out."""
    lrap: float
    lrap_low: float
    lrap_high: float
    lwlrap: float
    macro_auc: float
    macro_ap: float


def evaluate(Y: np.ndarray, P: np.ndarray, seed: int) -> Evaluation:
    per_recording = lrap_per_recording(Y, P)
    low, high = bootstrap_interval(per_recording, seed)
    return Evaluation(
        n_recordings=int(np.isfinite(per_recording).sum()),
        lrap=_mean(per_recording),
        lrap_low=low,
        lrap_high=high,
        lwlrap=lwlrap(Y, P),
        macro_auc=_mean(auc_per_species(Y, P)),
        macro_ap=_mean(ap_per_species(Y, P)),
    )


def bootstrap_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the mean of the finite `values`.

    For a paired comparison of two models, give the differences of their LRAP per recording.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(N_BOOTSTRAP)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def difference_error(
    metric: Callable[[np.ndarray, np.ndarray], float], Y: np.ndarray, P: np.ndarray, other: np.ndarray
) -> float:
    """Return the standard error of metric(Y, P) - metric(Y, other), paired, over blocks of recordings."""
    blocks = [slice(k, None, N_BLOCKS) for k in range(min(N_BLOCKS, len(Y)))]
    differences = [metric(Y[rows], P[rows]) - metric(Y[rows], other[rows]) for rows in blocks]
    return float(np.nanstd(differences, ddof=1) / np.sqrt(len(blocks)))


def check_scores(Y: np.ndarray, P: np.ndarray) -> None:
    if Y.shape != P.shape:
        raise ValueError(f"P has shape {P.shape} and Y {Y.shape}; score every species of every recording")
    if np.isnan(P).any():
        raise ValueError(
            f"P is nan in {np.isnan(P).any(axis=1).sum()} of {len(P)} rows; a nan cannot be ranked"
        )


def _per_species(score, Y: np.ndarray, P: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    check_scores(Y, P)
    values = np.full(Y.shape[1], np.nan)
    for k in range(Y.shape[1]):
        known = ~np.isnan(Y[:, k])
        if len(np.unique(Y[known, k])) == 2:
            values[k] = score(Y[known, k], P[known, k])
    return values


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    finite = np.isfinite(values)
    if not finite.any():
        return float("nan")
    return float(np.average(values[finite], weights=None if weights is None else weights[finite]))


@dataclass(frozen=True)
class Calibration:
    """How far probabilities are from what comes true; 0 is best.

    brier : mean squared error. log_loss : mean cross-entropy, nats. ece : expected calibration error, the
    mean over species with `LEAST_POSITIVES` of what `reliability` shows, weighted by its counts.
    """

    brier: float
    log_loss: float
    ece: float


def calibration(Y: np.ndarray, P: np.ndarray) -> Calibration:
    """Return the calibration of (n_recordings, n_species) probabilities P; nan in Y does not count."""
    known = ~np.isnan(Y)
    p, y = np.clip(P[known], EPSILON, 1 - EPSILON), Y[known]
    errors = []
    for k in np.flatnonzero(np.nansum(Y, axis=0) >= LEAST_POSITIVES):
        predicted, observed, count = reliability(Y[:, [k]], P[:, [k]])
        errors.append(np.sum(count * np.abs(predicted - observed)) / count.sum())
    return Calibration(
        brier=float(np.mean((P[known] - y) ** 2)),
        log_loss=float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))),
        ece=float(np.mean(errors)) if errors else float("nan"),
    )


def reliability(Y: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each of ten equal bins of probability that is not empty: mean probability, share, count.

    The share is of the cells whose species is present.
    """
    known = ~np.isnan(Y)
    p, y = P[known], Y[known]
    bins = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
    count = np.bincount(bins, minlength=N_BINS)
    full = count > 0
    predicted, observed = (np.bincount(bins, values, N_BINS)[full] / count[full] for values in (p, y))
    return predicted, observed, count[full]
