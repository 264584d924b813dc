"""Ranking metrics for multi-label scores with unknown labels, and metrics of calibration.

Conventions
-----------
Truth is an array Y, (n_recordings, n_species): 1 for present, 0 for absent and nan for unknown. Scores are an
array P of the same shape without nan. A cell is the entry of one recording and one species.

* Unknown cells are ignored: they are not part of any ranking.
* A recording without a present species has no LRAP. scikit-learn would give it the value 1.
* A species whose known labels are all 1 or all 0 has neither AUC nor AP.
* Undefined values are nan. Means ignore nan; if all values are nan, the mean is nan.

Metrics
-------
* `lrap`: label ranking average precision, the mean of `lrap_per_recording`.
* `lwlrap`: LRAP weighted by the number of present species; the metric of the RFCX challenge.
* `auc_per_species`: area under the ROC curve of each species; `macro_auc` is its mean over species.
* `ap_per_species`: average precision of each species.
* `precision_and_recall`: precision and recall of each species at its threshold.
* `calibration_metrics`: Brier score, log loss and expected calibration error of probabilities.
* `reliability`: points of the reliability diagram.

`evaluate` returns all ranking metrics. `bootstrap_interval` and `difference_error` measure their uncertainty.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

N_BLOCKS = 10  # number of blocks of recordings in `difference_error`
N_BOOTSTRAP = 2000
MIN_POSITIVES = 5
"""Measures of a species with fewer positive recordings are arbitrary. It does not count in the expected
calibration error, and its thresholds cannot be verified."""
N_BINS = 10  # number of bins of the reliability diagram
EPSILON = 1e-6  # for the log loss, probabilities are clipped to [EPSILON, 1 - EPSILON]
BLOCK_SIZE = 512  # number of recordings ranked together; each needs n_species ** 2 bytes


def lrap_per_recording(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return the label ranking average precision (LRAP) of each recording, (n_recordings,).

    For each present species, take the known species that score at least as high, including the species
    itself. The fraction of them that is present is the precision at this species. The LRAP is the mean
    precision over the present species [1]_. A recording without a present species has the value nan.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    References
    ----------
    .. [1] Tsoumakas, Katakis and Vlahavas (2010), "Mining multi-label data".

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    >>> P = np.array([[0.9, 0.1, 0.2], [0.9, 0.5, 0.6], [0.1, 0.2, 0.3]])
    >>> lrap_per_recording(Y, P).tolist()
    [1.0, 0.5, nan]
    """
    validate_scores(Y, P)
    present, known = Y == 1, ~np.isnan(Y)
    value = np.full(len(Y), np.nan)
    rows = np.flatnonzero(present.any(axis=1))
    for block in np.array_split(rows, len(rows) // BLOCK_SIZE + 1):
        scores, is_present = P[block], present[block]
        # at_least[r, i, j]: in recording r, known species j scores at least as high as species i
        at_least = (scores[:, None, :] >= scores[:, :, None]) & known[block][:, None, :]
        precision = (at_least & is_present[:, None, :]).sum(axis=2) / np.maximum(at_least.sum(axis=2), 1)
        value[block] = (precision * is_present).sum(axis=1) / is_present.sum(axis=1)
    return value


def lrap(Y: np.ndarray, P: np.ndarray) -> float:
    """Return the label ranking average precision: the mean of `lrap_per_recording`.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.

    Returns
    -------
    float
        nan if no recording has a present species.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    Examples
    --------
    >>> import numpy as np
    >>> lrap(np.array([[1, 0, 1], [0, 1, 0]]), np.array([[0.9, 0.1, 0.8], [0.5, 0.4, 0.3]]))
    0.75
    """
    return _mean(lrap_per_recording(Y, P))


def lwlrap(Y: np.ndarray, P: np.ndarray) -> float:
    """Return the label-weighted LRAP, the metric of the RFCX challenge.

    It is the mean of `lrap_per_recording`, weighted by the number of present species.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.

    Returns
    -------
    float
        nan if no recording has a present species.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    Examples
    --------
    >>> import numpy as np
    >>> round(lwlrap(np.array([[1, 0, 1], [0, 1, 0]]), np.array([[0.9, 0.1, 0.8], [0.5, 0.4, 0.3]])), 4)
    0.8333
    """
    return _mean(lrap_per_recording(Y, P), weights=(Y == 1).sum(axis=1))


def auc_per_species(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve (AUC) of each species over its known recordings, (n_species,).

    The AUC is the probability that a recording with the species scores higher than one without it, where
    equal scores count one half. It follows from the sum of the ranks of the recordings with the species [1]_.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.

    Returns
    -------
    (n_species,) array
        nan for a species whose known labels are all 1 or all 0.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    References
    ----------
    .. [1] Mann and Whitney (1947), "On a test of whether one of two random variables is stochastically larger
       than the other".

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1], [0, np.nan], [0, 1]])
    >>> auc_per_species(Y, np.array([[0.5, 0.1], [0.9, 0.2], [0.1, 0.3]])).tolist()
    [0.5, nan]
    """
    validate_scores(Y, P)
    present = Y == 1
    n_present, n_absent = present.sum(axis=0), (Y == 0).sum(axis=0)
    ranks = _ranks(P, ~np.isnan(Y), "average")
    n_pairs = np.where(n_present * n_absent > 0, n_present * n_absent, np.nan)
    return (np.where(present, ranks, 0).sum(axis=0) - n_present * (n_present + 1) / 2) / n_pairs


def ap_per_species(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return the average precision (AP) of each species over its known recordings, (n_species,).

    For each recording with the species, take the known recordings that score at least as high, including the
    recording itself. The fraction of them that contain the species is the precision at this recording. The AP
    is the mean precision over the recordings with the species.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.

    Returns
    -------
    (n_species,) array
        nan for a species whose known labels are all 1 or all 0.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1], [0, np.nan], [0, 1]])
    >>> ap_per_species(Y, np.array([[0.5, 0.1], [0.9, 0.2], [0.1, 0.3]])).tolist()
    [0.5, nan]
    """
    validate_scores(Y, P)
    present = Y == 1
    n_present = np.where(present.any(axis=0) & (Y == 0).any(axis=0), present.sum(axis=0), np.nan)
    precision = _ranks(-P, present, "max") / _ranks(-P, ~np.isnan(Y), "max")
    return np.nansum(precision, axis=0) / n_present


def macro_auc(Y: np.ndarray, P: np.ndarray) -> float:
    """Return the mean of `auc_per_species` over the species that have an AUC.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.

    Returns
    -------
    float
        nan if no species has an AUC.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1], [0, np.nan], [0, 1]])
    >>> macro_auc(Y, np.array([[0.5, 0.1], [0.9, 0.2], [0.1, 0.3]]))
    0.5
    """
    return _mean(auc_per_species(Y, P))


METRICS = {"lrap": lrap, "lwlrap": lwlrap, "auc": macro_auc}
"""Metrics that can select parameters and weights, by the name in `--metric`."""


def precision_and_recall(
    Y: np.ndarray, P: np.ndarray, threshold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the precision and the recall of each species at its threshold, both (n_species,).

    A species is reported in a recording if its score is at least the threshold. The precision is the fraction
    of the reported recordings that contain the species. The recall is the fraction of the recordings with the
    species that are reported.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.
    threshold : (n_species,).

    Returns
    -------
    precision, recall : (n_species,) arrays
        The precision is nan for a species that is never reported, the recall for one that is never present.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 0], [0, 0], [1, 0]])
    >>> P = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]])
    >>> precision, recall = precision_and_recall(Y, P, np.array([0.5, 0.5]))
    >>> precision.tolist(), recall.tolist()
    ([0.5, nan], [0.5, nan])
    """
    validate_scores(Y, P)
    present, reported = Y == 1, (threshold <= P) & ~np.isnan(Y)
    hits = (present & reported).sum(axis=0)
    precision, recall = (
        np.divide(hits, n, out=np.full(len(n), np.nan), where=n > 0)
        for n in (reported.sum(axis=0), present.sum(axis=0))
    )
    return precision, recall


@dataclass(frozen=True)
class Evaluation:
    """Ranking metrics of a table of scores.

    Attributes
    ----------
    n_recordings : number of recordings with a present species; the others have no LRAP.
    lrap : label ranking average precision.
    lrap_low, lrap_high : 95 % bootstrap interval of `lrap` over recordings.
    lwlrap : label-weighted LRAP.
    macro_auc, macro_ap : mean AUC and mean average precision over species.
    """

    n_recordings: int
    lrap: float
    lrap_low: float
    lrap_high: float
    lwlrap: float
    macro_auc: float
    macro_ap: float


def evaluate(Y: np.ndarray, P: np.ndarray, seed: int) -> Evaluation:
    """Return all ranking metrics of scores.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.
    seed : random seed of the bootstrap interval.

    Raises
    ------
    ValueError
        Y and P differ in shape, or P contains nan.

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 0, 1], [0, 1, 0]])
    >>> evaluation = evaluate(Y, np.array([[0.9, 0.1, 0.8], [0.5, 0.4, 0.3]]), seed=0)
    >>> evaluation.lrap, evaluation.lrap_low, evaluation.lrap_high
    (0.75, 0.5, 1.0)
    """
    per_recording = lrap_per_recording(Y, P)
    low, high = bootstrap_interval(per_recording, seed)
    return Evaluation(
        n_recordings=int(np.isfinite(per_recording).sum()),
        lrap=_mean(per_recording),
        lrap_low=low,
        lrap_high=high,
        lwlrap=lwlrap(Y, P),
        macro_auc=macro_auc(Y, P),
        macro_ap=_mean(ap_per_species(Y, P)),
    )


def bootstrap_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of the finite values.

    For a paired comparison of two models, pass the difference between their LRAP in each recording.

    Parameters
    ----------
    values : (n,) values, for example from `lrap_per_recording`. Values that are not finite are ignored.
    seed : random seed.

    Returns
    -------
    low, high : float
        nan if no value is finite.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = bootstrap_interval(np.array([0.2, 0.4, np.nan, 0.6, 0.8]), seed=0)
    >>> low < 0.5 < high
    True
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(N_BOOTSTRAP)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def difference_error(
    metric: Callable[[np.ndarray, np.ndarray], float], Y: np.ndarray, P: np.ndarray, *, other: np.ndarray
) -> float:
    """Return the standard error of the paired difference metric(Y, P) - metric(Y, other).

    The recordings are divided into ten blocks. The standard error is estimated from the variation of the
    difference between blocks. If the metric is undefined in more than half of the blocks, fewer and larger
    blocks are used: the AUC of a species, for example, needs recordings with and without it in a block.

    Parameters
    ----------
    metric : function `metric(Y, P)` of truth and scores.
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P, other : (n_recordings, n_species) scores of the two models.

    Returns
    -------
    float
        nan if the metric is undefined for any number of blocks.
    """
    differences = block_scores(metric, Y, P) - block_scores(metric, Y, other)
    return standard_error(differences)


def block_scores(
    metric: Callable[[np.ndarray, np.ndarray], float], Y: np.ndarray, P: np.ndarray
) -> np.ndarray:
    """Return the metric in each of ten or fewer blocks of recordings, (n_blocks,); nan where it is undefined.

    The blocks only depend on Y, so the differences between the block scores of two models are paired.

    Parameters
    ----------
    metric : function `metric(Y, P)` of truth and scores.
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) scores.
    """
    for n_blocks in range(min(N_BLOCKS, len(Y)), 1, -1):
        blocks = [slice(k, None, n_blocks) for k in range(n_blocks)]
        scores = np.array([metric(Y[rows], P[rows]) for rows in blocks])
        if np.isfinite(scores).sum() >= max(n_blocks / 2, 2):
            return scores
    return np.full(1, np.nan)


def standard_error(differences: np.ndarray) -> float:
    """Return the standard error of the mean of differences between block scores; nan if it is undefined."""
    if np.isfinite(differences).sum() < 2:
        return float("nan")
    return float(np.nanstd(differences, ddof=1) / np.sqrt(len(differences)))


def validate_scores(Y: np.ndarray, P: np.ndarray) -> None:
    """Raise ValueError if truth Y and scores P differ in shape, or if P contains nan."""
    if Y.shape != P.shape:
        raise ValueError(
            f"scores have shape {P.shape}, truth has shape {Y.shape}; score every species of every recording"
        )
    if np.isnan(P).any():
        raise ValueError(f"scores are nan in {np.isnan(P).any(axis=1).sum()} of {len(P)} rows; replace them")


def _ranks(P: np.ndarray, used: np.ndarray, ties: str) -> np.ndarray:
    """Return the ranks of the used scores of each column, from 1 (lowest); other cells are nan."""
    return rankdata(np.where(used, P, np.nan), method=ties, axis=0, nan_policy="omit")


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    finite = np.isfinite(values)
    if not finite.any():
        return float("nan")
    return float(np.average(values[finite], weights=None if weights is None else weights[finite]))


@dataclass(frozen=True)
class CalibrationMetrics:
    """Errors of probabilities; 0 is best.

    Attributes
    ----------
    brier : Brier score, the mean squared error.
    log_loss : mean cross-entropy, nats.
    ece : expected calibration error. For one species, it is the mean absolute difference between predicted
        and observed frequency over the bins of `reliability`, weighted by the counts of the bins. The result
        is the mean over the species with at least five positives; nan if there are none.
    """

    brier: float
    log_loss: float
    ece: float


def calibration_metrics(Y: np.ndarray, P: np.ndarray) -> CalibrationMetrics:
    """Return the errors of probabilities over known cells.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) probabilities in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> calibration_metrics(np.array([[1.0], [0.0]] * 5), np.full((10, 1), 0.5))
    CalibrationMetrics(brier=0.25, log_loss=0.6931471805599453, ece=0.0)
    """
    known = ~np.isnan(Y)
    p, y = np.clip(P[known], EPSILON, 1 - EPSILON), Y[known]
    errors = []
    for k in np.flatnonzero(np.nansum(Y, axis=0) >= MIN_POSITIVES):
        predicted, observed, count = reliability(Y[:, [k]], P[:, [k]])
        errors.append(np.sum(count * np.abs(predicted - observed)) / count.sum())
    return CalibrationMetrics(
        brier=float(np.mean((P[known] - y) ** 2)),
        log_loss=float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))),
        ece=float(np.mean(errors)) if errors else float("nan"),
    )


def reliability(Y: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points of the reliability diagram over known cells, in ten bins of equal width.

    Parameters
    ----------
    Y : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    P : (n_recordings, n_species) probabilities in [0, 1].

    Returns
    -------
    predicted, observed, count : (n_bins,) arrays
        For each bin that is not empty: the mean probability, the fraction of cells in which the species is
        present, and the number of cells.

    Examples
    --------
    >>> import numpy as np
    >>> predicted, observed, count = reliability(np.array([[1.0, 0.0, 1.0]]), np.array([[0.9, 0.1, 0.1]]))
    >>> predicted.tolist(), observed.tolist(), count.tolist()
    ([0.1, 0.9], [0.5, 1.0], [2, 1])
    """
    known = ~np.isnan(Y)
    p, y = P[known], Y[known]
    bins = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
    count = np.bincount(bins, minlength=N_BINS)
    full = count > 0
    predicted, observed = (np.bincount(bins, values, N_BINS)[full] / count[full] for values in (p, y))
    return predicted, observed, count[full]
