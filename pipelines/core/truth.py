"""Presence of the species in the training recordings, as known from the tables of a data set."""

import numpy as np

from features.data.dataset import Dataset


def presence(dataset: Dataset) -> np.ndarray:
    """Return the presence of each species in each training recording: 1, 0, or nan for unknown.

    The shape is (n_train, n_species). If train_labels.csv exists, its labels are returned. Otherwise a
    species is present in a recording if it has a TP box there, and absent if it only has FP boxes there.
    """
    if dataset.train_labels is not None:
        return dataset.train_labels.astype(float)
    row = {recording_id: k for k, recording_id in enumerate(dataset.train)}
    known = np.full((len(row), dataset.n_species), np.nan)
    for boxes, value in ((dataset.fp, 0.0), (dataset.tp, 1.0)):
        known[boxes["recording_id"].map(row).astype(int), boxes["species_id"]] = value
    return known


def training_truth(dataset: Dataset) -> np.ndarray:
    """Return the truth that out-of-fold scores are compared with, (n_train, n_species) of 1 and 0.

    Unknown species count as absent. This makes the metrics pessimistic.
    """
    return np.nan_to_num(presence(dataset))
