"""How frequent each species is among new recordings, from their own scores, without a label."""

import numpy as np
import scipy.special

from models.scoring.calibration import logit

STRENGTH = 20.0
"""Recordings' worth of belief in the training prevalence. Chosen on two sets like the embedded one but drawn
from other seeds, where 10 to 40 did about as well."""
TOLERANCE = 1e-6
N_STEPS = 1000


def estimate_prevalence(P: np.ndarray, prior: float, strength: float = STRENGTH) -> np.ndarray:
    """Return the (n_species,) share of the recordings that have each species.

    Expectation maximisation after Saerens, Latinne and Decaestecker (2002), "Adjusting the outputs
    of a classifier to new a priori probabilities", drawn to the training prevalence by
    pseudo-recordings. It believes the scores: where they are poor, or no probabilities, so is the
    estimate.

    Parameters
    ----------
    P : (n_recordings, n_species) probabilities, calibrated where every species has prevalence `prior`.
    """
    prevalence = np.full(P.shape[1], prior)
    for _ in range(N_STEPS):
        expected = with_prevalence(P, prior, prevalence).sum(axis=0)
        updated = (expected + strength * prior) / (len(P) + strength)
        moved = np.abs(updated - prevalence).max()
        prevalence = updated
        if moved < TOLERANCE:
            break
    return prevalence


def with_prevalence(P: np.ndarray, prior: float, prevalence: np.ndarray) -> np.ndarray:
    """Return what (n_recordings, n_species) probabilities P become where species are as frequent as told.

    Bayes' rule: each species' odds change by the ratio of new and old prior odds, so recordings
    keep their order and species change theirs.
    """
    return scipy.special.expit(logit(P) + logit(prevalence) - logit(np.array(prior)))
