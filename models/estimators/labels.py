"""What both models take as labels, and how they tell scikit-learn."""

import numpy as np
from sklearn.utils import Tags, check_array


def check_labels(Y: np.ndarray | None, n_windows: int) -> np.ndarray:
    """Return (n_windows, n_species) Y, which must be of 1, 0 and nan for unknown.

    Raises
    ------
    ValueError
        Y is missing, of another shape or of other values.
    """
    if Y is None:
        raise ValueError(
            "this model requires y to be passed, but the target y is None; give a label row per window"
        )
    Y = check_array(Y, dtype="numeric", ensure_all_finite="allow-nan", input_name="Y")
    if len(Y) != n_windows:
        raise ValueError(f"X has {n_windows} windows and Y {len(Y)}; give a label row per window")
    other = ~(np.isnan(Y) | (Y == 0) | (Y == 1))
    if other.any():
        raise ValueError(f"Y holds {Y[other][0]:g}; a label is 1, 0, or nan for unknown")
    return Y


def constant_log_odds(y: np.ndarray, weak_negative_weight: float) -> float | None:
    """Return the log odds of a species whose windows are of one class, so that nothing can be learned.

    Parameters
    ----------
    y : (n_windows,) of 1, 0 and nan.
    weak_negative_weight : weight of nan as a negative; at 0 only known windows count.

    Returns
    -------
    float or None
        By its share of all windows, for what is unknown is mostly absent; None where both classes are there.
    """
    present = y[~np.isnan(y)] == 1 if weak_negative_weight == 0 else y == 1
    if present.any() and not present.all():
        return None
    return float(np.log(present.sum() + 0.5) - np.log(len(y) - present.sum() + 0.5))


def multilabel_tags(tags: Tags) -> Tags:
    """Return scikit-learn's tags of an estimator that takes a column of labels for each species."""
    tags.target_tags.required = True
    tags.target_tags.multi_output = True
    tags.target_tags.single_output = False
    return tags
