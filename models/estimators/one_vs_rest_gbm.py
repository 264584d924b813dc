"""One LightGBM model per species. Windows with an unknown label are weak negatives."""

from pathlib import Path
from typing import Any, Self

import joblib
import lightgbm as lgb
import numpy as np
from lightgbm.basic import LightGBMError
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from features.common.errors import UserError
from features.common.files import read_json, replacing, write_json
from models.estimators.labels import check_labels, constant_log_odds, label_weights, multilabel_tags
from models.estimators.lightgbm_text import merge, read_booster

VERSION = 7  # increase it when the same parameters and data give different scores
OWN_BINS = 15  # maximum number of bins per feature if each species has its own, for its few known windows
SHARED_BINS = 127  # maximum number of bins per feature if all species share them
EDGE_WINDOWS = 4096  # number of windows, drawn at random, from which the edges of shared bins are computed
FILE = "trees.json"

LIGHTGBM = {
    "enable_bundle": False,  # there are no sparse features to bundle
    "feature_pre_filter": False,
    "num_threads": 1,  # species are fitted in parallel, so LightGBM itself uses one thread
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


class OneVsRestGBM(BaseEstimator):
    """Gradient-boosted trees, one LightGBM model per species.

    Parameters
    ----------
    n_estimators, learning_rate, num_leaves, min_child_samples, reg_lambda
        As in `lightgbm.LGBMClassifier`.
    feature_fraction : float, optional
        Fraction of the features that each tree may use. Default: 2 / sqrt(n_features), but at most 1. With
        few features, a small fraction would be one or two features per tree.
    extra_trees : bool
        Whether to grow extremely randomised trees [1]_, which split at random thresholds.
    weak_negative_weight : float
        Weight of an unknown label, which counts as a negative, in a window without a known call. In a window
        with a call of another species, the weight is 1, which separates species from each other. If
        `weak_negative_weight` is 0, windows with an unknown label are left out.
    max_weak_negatives : int
        Maximum number of weak negatives in the fit of a species. They are drawn at random, and their weight
        is increased so that the sum of the weights does not change.
    random_state : int
        Random seed.
    n_jobs : int
        Number of species fitted in parallel. It does not change the scores.

    Attributes
    ----------
    boosters_ : list of (Booster or float)
        The model of each species, or constant log odds if the species has labels of one class only.
    n_features_in_, n_species_ : int
        Numbers of features and species.

    Notes
    -----
    With about twenty positives per species, extremely randomised trees score about as well as trees with
    optimised thresholds, and are fitted in two thirds of the time.

    If `weak_negative_weight` is positive, all species share the bins of the features. The bin edges are
    computed from windows in which any species is present. If they were computed from all windows, most
    bins would cover background noise. If `weak_negative_weight` is 0, each species has its own bins, because
    its few known windows would fill only a few of the shared bins.

    References
    ----------
    .. [1] Geurts, Ernst and Wehenkel (2006), "Extremely randomized trees".
    .. [2] Lundberg et al. (2020), "From local explanations to global understanding with explainable AI for
       trees".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> Y = (X[:, :2] > 1).astype(float)  # species k is present if feature k is high
    >>> Y[:50, 1] = np.nan  # unknown
    >>> model = OneVsRestGBM(n_estimators=20).fit(X, Y)
    >>> P = model.predict_proba(np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]))
    >>> P.argmax(axis=1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        *,
        n_estimators: int = 150,
        learning_rate: float = 0.08,
        num_leaves: int = 8,
        min_child_samples: int = 10,
        reg_lambda: float = 1.0,
        feature_fraction: float | None = None,
        extra_trees: bool = True,
        weak_negative_weight: float = 0.1,
        max_weak_negatives: int = 2000,
        random_state: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.reg_lambda = reg_lambda
        self.feature_fraction = feature_fraction
        self.extra_trees = extra_trees
        self.weak_negative_weight = weak_negative_weight
        self.max_weak_negatives = max_weak_negatives
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Return the fitted estimator.

        Parameters
        ----------
        X : (n_windows, n_features) features.
        Y : (n_windows, n_species) labels from 0 to 1, or nan for unknown.

        Raises
        ------
        UserError
            LightGBM rejects the parameters or the features.
        """
        X = validate_data(self, X, dtype=np.float32)  # sets n_features_in_
        Y = check_labels(Y, len(X))
        self.n_species_ = Y.shape[1]
        try:
            weights = label_weights(Y, self.weak_negative_weight)
            binned = self._binned(X, (Y == 1).any(axis=1)) if self.weak_negative_weight else None
            self.boosters_ = joblib.Parallel(n_jobs=self.n_jobs, require="sharedmem")(
                joblib.delayed(self._fit_species)(X, k, Y[:, k], weights[:, k], binned)
                for k in range(self.n_species_)
            )
        except LightGBMError as error:
            reason = str(error).strip()
            raise UserError(
                f"LightGBM cannot fit the trees ({reason}); change the parameters or check the features"
            ) from error
        self._merge()
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the log odds of each species in each window, (n_windows, n_species)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)  # converted once, not for every species
        has_trees = np.array([isinstance(booster, lgb.Booster) for booster in self.boosters_])
        log_odds = np.empty((len(X), self.n_species_))
        log_odds[:, ~has_trees] = [b for b in self.boosters_ if not isinstance(b, lgb.Booster)]
        if self._merged is not None:
            n_threads = joblib.effective_n_jobs(self.n_jobs)
            raw = np.asarray(self._merged.predict(X, raw_score=True, num_threads=n_threads))
            log_odds[:, has_trees] = raw.reshape(len(X), -1)
        return log_odds

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probability of each species in each window, (n_windows, n_species)."""
        return np.asarray(expit(self.decision_function(X)))

    def importance(self) -> np.ndarray:
        """Return the share of each feature in the total gain of the splits, (n_species, n_features)."""
        check_is_fitted(self)
        total = np.zeros((self.n_species_, self.n_features_in_))
        for k, booster in enumerate(self.boosters_):
            if isinstance(booster, lgb.Booster):
                total[k] = booster.feature_importance("gain")
        return total / np.maximum(total.sum(axis=1, keepdims=True), np.finfo(float).tiny)

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        """Return the SHAP value [2]_ of each feature for the log odds of a species, (n_windows, n_features).

        Parameters
        ----------
        X : (n_windows, n_features) features.
        species : index of the species.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        booster = self.boosters_[species]
        if not isinstance(booster, lgb.Booster):
            return np.zeros(X.shape)
        return np.asarray(booster.predict(X, pred_contrib=True))[:, :-1]

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__())

    def save(self, folder: Path) -> None:
        """Write the model as data: `trees.json`, and `trees_s<k>.txt` for each species with trees."""
        check_is_fitted(self)
        constants = {}
        for k, booster in enumerate(self.boosters_):
            if isinstance(booster, lgb.Booster):
                with replacing(_booster_file(folder, k)) as temporary:
                    temporary.write_text(booster.model_to_string(), encoding="utf-8")
            else:
                constants[k] = booster
        # This file is written last, so that a folder that contains it is complete.
        write_json(
            folder / FILE,
            {
                "params": {key: value for key, value in self.get_params().items() if key != "n_jobs"},
                "n_features": self.n_features_in_,
                "n_species": self.n_species_,
                "constants": constants,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the model that `save` wrote to `folder`.

        Raises
        ------
        ValueError, KeyError, TypeError, OSError
            The files are missing or not valid.
        """
        stored = read_json(folder / FILE)
        model = cls(**stored["params"])
        model.n_features_in_ = int(stored["n_features"])
        model.n_species_ = int(stored["n_species"])
        constants = {int(k): float(value) for k, value in dict(stored["constants"]).items()}
        if not np.isfinite(list(constants.values())).all():
            raise ValueError(f"{FILE}: a constant is not finite")
        model.boosters_ = [
            constants[k] if k in constants else read_booster(_booster_file(folder, k), model.n_features_in_)
            for k in range(model.n_species_)
        ]
        model._merge()
        return model

    def _merge(self) -> None:
        """Merge the models of all species with trees into one, which scores windows in half the time."""
        boosters = [booster for booster in self.boosters_ if isinstance(booster, lgb.Booster)]
        self._merged = merge(boosters) if boosters else None

    def _binned(self, X: np.ndarray, is_present: np.ndarray) -> lgb.Dataset:
        """Return X in bins, with edges from the windows in `is_present`, or from all if none is."""
        params = LIGHTGBM | {"max_bin": SHARED_BINS, "num_threads": joblib.effective_n_jobs(self.n_jobs)}
        windows = np.flatnonzero(is_present) if is_present.any() else np.arange(len(X))
        sample = X[np.random.default_rng(self.random_state).permutation(windows)[:EDGE_WINDOWS]]
        edges = lgb.Dataset(sample, np.zeros(len(sample)), params=params)
        return lgb.Dataset(X, np.zeros(len(X)), reference=edges, params=params).construct()

    def _fit_species(
        self, X: np.ndarray, k: int, y: np.ndarray, weight: np.ndarray, binned: lgb.Dataset | None
    ) -> lgb.Booster | float:
        """Return the model of a species.

        Parameters
        ----------
        k : index of the species.
        y : (n_windows,) labels of the species, from 0 to 1 or nan.
        weight : (n_windows,) weights of the labels, not used without shared bins.
        binned : X in shared bins, or None for bins of its own, from the windows with a known label.
        """
        constant = constant_log_odds(y, self.weak_negative_weight)
        if constant is not None:
            return constant
        if binned is None:
            known = ~np.isnan(y)
            data = lgb.Dataset(X[known], y[known], params=LIGHTGBM | {"max_bin": OWN_BINS})
        else:
            rows, weight = self._draw_weak_negatives(weight, np.random.default_rng((self.random_state, k)))
            data = binned.subset(rows.tolist()).construct()
            data.set_label(np.nan_to_num(y[rows]))
            data.set_weight(weight)
        return lgb.train(self._lightgbm_params(), data, num_boost_round=self.n_estimators)

    def _draw_weak_negatives(
        self, weight: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the windows for the fit of a species and their weights, from the weights of all windows."""
        weak = np.flatnonzero(weight < 1)
        drawn = rng.permutation(weak)[: self.max_weak_negatives]
        rows = np.sort(np.concatenate([np.flatnonzero(weight >= 1), drawn]))
        share = len(drawn) / max(len(weak), 1)
        return rows, np.where(weight[rows] < 1, weight[rows] / (share or 1), weight[rows])

    def _lightgbm_params(self) -> dict[str, Any]:
        fraction = self.feature_fraction
        if fraction is None:
            fraction = min(2 / self.n_features_in_**0.5, 1.0)
        return LIGHTGBM | {
            "objective": "cross_entropy",  # the same as "binary" for labels of 1 and 0, but takes soft labels
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_child_samples,
            "lambda_l2": self.reg_lambda,
            "feature_fraction": fraction,
            "extra_trees": self.extra_trees,
            "seed": self.random_state,
        }


def _booster_file(folder: Path, k: int) -> Path:
    return folder / f"trees_s{k}.txt"
