"""Logistic functions: log odds of probabilities, and logistic regression on one variable."""

import numpy as np
import scipy.special

LOGIT_LIMIT = 1e-6  # minimum distance of clipped probabilities from 0 and 1
IDENTITY = np.array([1.0, 0.0])
"""Slope and offset that leave log odds unchanged."""
MIN_SLOPE = 0.1
TOLERANCE = 1e-8
MAX_STEPS = 50  # Newton's method usually converges in about ten steps


def logit(P: np.ndarray) -> np.ndarray:
    """Return the log odds of probabilities, after clipping them to [`LOGIT_LIMIT`, 1 - `LOGIT_LIMIT`].

    Parameters
    ----------
    P : array of any shape, probabilities in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> logit(np.array([0.0, 0.5, 1.0])).round(2).tolist()
    [-13.82, 0.0, 13.82]
    """
    return scipy.special.logit(np.clip(P, LOGIT_LIMIT, 1 - LOGIT_LIMIT))


def fit_logistic(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, *, prior: np.ndarray, precision: float
) -> np.ndarray:
    """Return the slope and offset, (2,), of a weighted logistic regression with a Gaussian prior.

    Parameters
    ----------
    x : (n,) explanatory variable, for example log odds.
    y : (n,) labels from 0 to 1. An example with weight 0 is ignored, and its label may be nan.
    weight : (n,) weights of the examples.
    prior : (2,) slope and offset at the centre of the prior.
    precision : inverse variance of the prior.

    Returns
    -------
    (2,) array
        Slope and offset. The slope is at least 0.1, so the probability always increases with x.
    """
    used = weight > 0
    A, y, weight = np.column_stack([x[used], np.ones(used.sum())]), y[used], weight[used]

    def loss(w: np.ndarray) -> float:
        z = A @ w
        entropy = -weight @ (scipy.special.log_expit(-z) + y * z)
        return float(entropy + precision * np.sum((w - prior) ** 2) / 2)

    w = prior.copy()
    current = loss(w)
    for _ in range(MAX_STEPS):
        p = scipy.special.expit(A @ w)
        gradient = A.T @ (weight * (p - y)) + precision * (w - prior)
        hessian = (A * (weight * p * (1 - p))[:, None]).T @ A + precision * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # Far from the minimum, a full Newton step can increase the loss.
        while (new := loss(w - step)) > current and np.abs(step).max() > TOLERANCE:
            step /= 2
        w, current = w - step, new
        if np.abs(step).max() < TOLERANCE:
            break
    # With few examples, the slope can be negative by chance. The limit keeps the order of the scores.
    return np.array([max(w[0], MIN_SLOPE), w[1]])
