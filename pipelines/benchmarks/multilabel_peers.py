"""Multi-label classifiers that use the dependence between labels.

They are for complete labels, so that an unknown species counts as absent. Trohidis et al. (2008) compared
them on music, "Multi-label classification of music into emotions".
"""

import warnings
from collections.abc import Callable
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

N_CHAINS = 5
N_NEIGHBOURS = 10
SET_SIZE = 3  # species per set of RAkEL


class BinaryRelevance(BaseEstimator):
    """A classifier for each species, the reference for the others."""

    def __init__(self, estimator: BaseEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on X, (n, n_features), and labels Y, (n, n_species), in which nan counts as absent."""
        self.powersets_ = [LabelPowerset(self.estimator).fit(X, y[:, None]) for y in Y.T]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each species, (n, n_species)."""
        return np.hstack([powerset.predict_proba(X) for powerset in self.powersets_])


class LabelPowerset(BinaryRelevance):
    """A classifier with a class for each set of species that occurs; parameters as in `BinaryRelevance`."""

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        self.sets_, of_row = np.unique(Y == 1, axis=0, return_inverse=True)
        if len(self.sets_) > 1:
            with warnings.catch_warnings():  # many sets occur only once
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                self.classifier_ = clone(self.estimator).fit(X, of_row.ravel())
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        if len(self.sets_) == 1:
            return np.tile(self.sets_.astype(float), (len(X), 1))
        return self.classifier_.predict_proba(X) @ self.sets_[self.classifier_.classes_]


class RAkEL(BinaryRelevance):
    """Label powersets of random sets of species [1]_; parameters as in `BinaryRelevance`.

    References
    ----------
    .. [1] Tsoumakas and Vlahavas (2007), "Random k-labelsets: an ensemble method for multilabel
       classification".
    """

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        n_species = Y.shape[1]
        rng = np.random.default_rng(0)
        n_sets = -(-n_species // SET_SIZE)
        # Each permutation covers all species once; together they have twice as many sets as species.
        permutations = [rng.permutation(n_species) for _ in range(2 * SET_SIZE)]
        self.sets_ = [members for order in permutations for members in np.array_split(order, n_sets)]
        self.powersets_ = [LabelPowerset(self.estimator).fit(X, Y[:, members]) for members in self.sets_]
        self.n_species_ = n_species
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        total, count = np.zeros((len(X), self.n_species_)), np.zeros(self.n_species_)
        for members, powerset in zip(self.sets_, self.powersets_, strict=True):
            total[:, members] += powerset.predict_proba(X)
            count[members] += 1
        return total / count


class Chains(BinaryRelevance):
    """The mean of classifier chains [1]_ in random orders; parameters as in `BinaryRelevance`.

    References
    ----------
    .. [1] Read et al. (2009), "Classifier chains for multi-label classification".
    """

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        present = Y == 1
        self.varied_ = present.any(axis=0) & ~present.all(axis=0)
        self.constant_ = present.mean(axis=0)
        self.chains_ = [
            ClassifierChain(clone(self.estimator), order="random", random_state=k).fit(
                X, present[:, self.varied_]
            )
            for k in range(N_CHAINS)
        ]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        P = np.tile(self.constant_, (len(X), 1))
        P[:, self.varied_] = np.mean([chain.predict_proba(X) for chain in self.chains_], axis=0)
        return P


class MLkNN(BaseEstimator):
    """Multi-label k nearest neighbours [1]_ on standardised features.

    The probability of a species is its posterior, given how many of the nearest recordings have it.

    References
    ----------
    .. [1] Zhang and Zhou (2007), "ML-KNN: a lazy learning approach to multi-label learning".
    """

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on X, (n, n_features), and labels Y, (n, n_species), in which nan counts as absent."""
        self.present_ = Y == 1
        self.scaler_ = StandardScaler().fit(X)
        self.k_ = min(N_NEIGHBOURS, len(X) - 1)
        self.neighbours_ = NearestNeighbors(n_neighbors=self.k_).fit(self.scaler_.transform(X))
        count = self._count(self.neighbours_.kneighbors(return_distance=False))  # without itself
        rows = range(self.k_ + 1)
        with_species = np.array([((count == c) & self.present_).sum(axis=0) for c in rows])
        without = np.array([((count == c) & ~self.present_).sum(axis=0) for c in rows])
        n_with = self.present_.sum(axis=0)
        prior = (1 + n_with) / (2 + len(X))
        odds = (1 + with_species) / (self.k_ + 1 + n_with) * (self.k_ + 1 + len(X) - n_with) / (1 + without)
        odds *= prior / (1 - prior)
        self.posterior_ = odds / (1 + odds)  # (k + 1, n_species)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each species, (n, n_species)."""
        nearest = self.neighbours_.kneighbors(self.scaler_.transform(X), return_distance=False)
        return self.posterior_[self._count(nearest), np.arange(self.present_.shape[1])]

    def _count(self, nearest: np.ndarray) -> np.ndarray:
        """Return how many of the nearest recordings have each species, (n, n_species)."""
        return self.present_[nearest].sum(axis=1)


def multilabel_models(seed: int, n_jobs: int) -> dict[str, BaseEstimator]:
    """Return multi-label classifiers by name, with random forests wherever they need a classifier."""
    forest = RandomForestClassifier(min_samples_leaf=2, random_state=seed, n_jobs=n_jobs)
    kinds: dict[str, Callable[[BaseEstimator], BaseEstimator]] = {
        "binary relevance": BinaryRelevance,
        "label powerset": LabelPowerset,
        "RAkEL": RAkEL,
        "classifier chains": Chains,
    }
    return {name: kind(forest) for name, kind in kinds.items()} | {"MLkNN": MLkNN()}
