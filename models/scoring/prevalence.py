"""Prevalence of species in new recordings, estimated from their scores without labels."""

import numpy as np
import scipy.special

from models.logistic import logit

STRENGTH = 20.0
"""Weight of the training prevalence, as a number of recordings. It was chosen on two data sets that were
synthesised like the embedded one, but with different seeds. Values from 10 to 40 gave similar results."""
TOLERANCE = 1e-6
MAX_STEPS = 1000


def estimate_prevalence(P: np.ndarray, prior: float, strength: float = STRENGTH) -> np.ndarray:
    """Return the estimated prevalence of each species, (n_species,): the fraction of recordings with it.

    The estimate is computed by expectation maximisation [1]_. Added pseudo-recordings with the training
    prevalence shrink the estimate towards the training prevalence. The estimate is poor if the probabilities
    are inaccurate or not calibrated.

    Parameters
    ----------
    P : (n_recordings, n_species) probabilities, calibrated for a prevalence of `prior`.
    prior : prevalence of every species in the training recordings.
    strength : number of pseudo-recordings.

    References
    ----------
    .. [1] Saerens, Latinne and Decaestecker (2002), "Adjusting the outputs of a classifier to new a priori
       probabilities: a simple procedure".

    Examples
    --------
    >>> import numpy as np
    >>> P = np.array([[0.9], [0.9], [0.9], [0.01]])  # three scores are high for a prevalence of 0.1
    >>> estimate_prevalence(P, 0.1, strength=0.0).round(1).tolist()
    [0.8]
    """
    prevalence = np.full(P.shape[1], prior)
    for _ in range(MAX_STEPS):
        expected = with_prevalence(P, prior, prevalence).sum(axis=0)
        updated = (expected + strength * prior) / (len(P) + strength)
        change = np.abs(updated - prevalence).max()
        prevalence = updated
        if change < TOLERANCE:
            break
    return prevalence


def with_prevalence(P: np.ndarray, prior: float, prevalence: np.ndarray) -> np.ndarray:
    """Return the probabilities at the given prevalence, (n_recordings, n_species).

    By Bayes' rule, the odds of each species are multiplied by the odds of its new prevalence and divided by
    the odds of the old one. This can change the order of the species in a recording, but not the order of the
    recordings for a species.

    Parameters
    ----------
    P : (n_recordings, n_species) probabilities, calibrated for a prevalence of `prior`.
    prior : prevalence for which P is calibrated, the same for every species.
    prevalence : (n_species,) new prevalence of each species.

    Examples
    --------
    >>> import numpy as np
    >>> with_prevalence(np.array([[0.5, 0.5]]), 0.1, np.array([0.1, 0.5])).round(2).tolist()
    [[0.5, 0.9]]
    """
    return scipy.special.expit(logit(P) + logit(prevalence) - logit(np.array(prior)))
