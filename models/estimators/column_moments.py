"""Weighted mean and variance of the columns of a large array."""

import numpy as np
from sklearn.utils import gen_batches

BATCH = 8192  # number of rows converted to float64 together; a copy of all would need too much memory


def moments(X: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and variance of each column in float64, both (n_columns,).

    Parameters
    ----------
    X : (n_rows, n_columns) values of any float type.
    weight : (n_rows,) weights; None for equal weights.

    Examples
    --------
    >>> import numpy as np
    >>> mean, variance = moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), variance.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    weight = np.ones(len(X)) if weight is None else weight
    # Deviations from a row instead of the values, so that a large mean does not reduce the precision.
    origin = X[0].astype(float)
    total, squares = np.zeros((2, X.shape[1]))
    for batch in gen_batches(len(X), BATCH):
        deviation = X[batch] - origin
        total += weight[batch] @ deviation
        squares += weight[batch] @ deviation**2
    mean = total / weight.sum()
    return origin + mean, np.maximum(squares / weight.sum() - mean**2, 0)
