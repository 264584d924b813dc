"""Labels that may be unknown: validation, scores of species with one class only, and scikit-learn tags."""

import numpy as np
from sklearn.utils import Tags, check_array


def check_labels(Y: np.ndarray | None, n_windows: int) -> np.ndarray:
    """Return the labels Y as a validated array, similar to scikit-learn's `check_array`.

    Parameters
    ----------
    Y : (n_windows, n_species) labels: 1, 0, a number between them for a soft label, or nan for unknown.
    n_windows : number of windows that Y must have.

    Raises
    ------
    ValueError
        Y is missing, has another shape, or contains values below 0 or above 1.
    """
    if Y is None:
        raise ValueError(
            "this model requires y to be passed, but the target y is None; pass one row of labels per window"
        )
    Y = check_array(Y, dtype="numeric", ensure_all_finite="allow-nan", input_name="Y")
    if len(Y) != n_windows:
        raise ValueError(f"X has {n_windows} windows but Y has {len(Y)}; pass one row of labels per window")
    other = (Y < 0) | (Y > 1)
    if other.any():
        raise ValueError(f"Y contains {Y[other][0]:g}; use numbers from 0 to 1, or nan for unknown")
    return Y


def label_weights(Y: np.ndarray, weak_negative_weight: float) -> np.ndarray:
    """Return the weight of each label, (n_windows, n_species), when unknown labels count as negatives.

    A known or soft label has weight 1. So has an unknown one in a window with a call of another species: few
    species call within the same second, and these labels teach a model to tell species apart. All other
    unknown labels have the weight `weak_negative_weight`. A soft label is a call with its probability, so
    the weight is between these two.

    Parameters
    ----------
    Y : (n_windows, n_species) labels from 0 to 1, or nan for unknown.
    weak_negative_weight : weight of an unknown label in a window without a known call.

    Examples
    --------
    >>> label_weights(np.array([[1, np.nan], [0, np.nan], [0.5, np.nan]]), 0.1).round(2).tolist()
    [[1.0, 1.0], [1.0, 0.1], [1.0, 0.55]]
    """
    call = np.nan_to_num(Y).max(axis=1, keepdims=True)
    return np.where(np.isnan(Y), call + (1 - call) * weak_negative_weight, 1.0)


def constant_log_odds(y: np.ndarray, weak_negative_weight: float) -> float | None:
    """Return the constant log odds of a species whose labels have one class only, or None for two classes.

    Parameters
    ----------
    y : (n_windows,) labels of the species from 0 to 1, or nan for unknown. A soft label is not a positive.
    weak_negative_weight : weight of an unknown label, which counts as a negative. If it is 0, unknown
        labels are ignored; a species whose known labels are all 1 then has one class only.

    Returns
    -------
    float or None
        Log odds of the smoothed fraction of positives among all windows. Unknown labels count as negatives
        here, because a species is absent from most windows.
    """
    present = y[~np.isnan(y)] == 1 if weak_negative_weight == 0 else y == 1
    if present.any() and not present.all():
        return None
    return float(np.log(present.sum() + 0.5) - np.log(len(y) - present.sum() + 0.5))


def multilabel_tags(tags: Tags) -> Tags:
    """Return the scikit-learn tags, changed for an estimator that requires a column of labels per species."""
    tags.target_tags.required = True
    tags.target_tags.multi_output = True
    tags.target_tags.single_output = False
    return tags
