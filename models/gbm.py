"""One LightGBM model per species, on the windows whose label is known and weakly on the rest."""

import json
from pathlib import Path
from typing import Any, Self

import joblib
import lightgbm as lgb
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from features.files import replacing, write_json

VERSION = 1  # raise it when the same parameters and data give other scores


class OneVsRestGBM(BaseEstimator):
    """Independent gradient-boosted trees for each species.

    Parameters
    ----------
    n_estimators, learning_rate, num_leaves, min_child_samples, reg_lambda : as in LightGBM.
    feature_fraction : share of the features that a tree may use.
    weak_negative_weight : weight of a window whose label is unknown, as a negative; 0 leaves it out.
    max_bin : bins of a feature; few make the histograms cheap, at no loss measured.
    random_state : seed of the trees.
    n_jobs : species fitted at a time. The scores do not depend on it.

    Attributes
    ----------
    boosters_ : list of (Booster or float), a constant where a species has one class only.
    n_features_in_, n_species_ : int.

    Notes
    -----
    Trees split at random thresholds ("extremely randomised", Geurts et al. 2006): with some twenty
    positives a species, ordinary best splits overfit.
    """

    def __init__(
        self,
        n_estimators: int = 150,
        learning_rate: float = 0.08,
        num_leaves: int = 8,
        min_child_samples: int = 10,
        reg_lambda: float = 1.0,
        feature_fraction: float = 0.2,
        weak_negative_weight: float = 0.1,
        max_bin: int = 63,
        random_state: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.reg_lambda = reg_lambda
        self.feature_fraction = feature_fraction
        self.weak_negative_weight = weak_negative_weight
        self.max_bin = max_bin
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on (n_windows, n_features) X and (n_windows, n_species) Y of 1, 0 and nan."""
        if len(X) != len(Y):
            raise ValueError(f"X has {len(X)} rows and Y {len(Y)}; give a label row per window")
        self.n_features_in_ = X.shape[1]
        self.n_species_ = Y.shape[1]
        # Each worker bins the windows once and fits its share of the species on those bins.
        n_jobs = min(joblib.effective_n_jobs(self.n_jobs), self.n_species_)
        shares = [range(k, self.n_species_, n_jobs) for k in range(n_jobs)]
        fitted = joblib.Parallel(n_jobs=n_jobs, prefer="threads")(
            joblib.delayed(self._fit_species)(X, Y, species) for species in shares
        )
        self.boosters_ = [fitted[k % n_jobs][k // n_jobs] for k in range(self.n_species_)]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_species) probability of each species in each window."""
        check_is_fitted(self)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features; this model was fitted on {self.n_features_in_}")
        columns = joblib.Parallel(n_jobs=self.n_jobs, prefer="threads")(
            joblib.delayed(_predict)(booster, X) for booster in self.boosters_
        )
        return np.column_stack(columns)

    def save(self, folder: Path) -> None:
        """Write the model as data: `model.json` and a LightGBM text file per species."""
        check_is_fitted(self)
        constants = {}
        for k, booster in enumerate(self.boosters_):
            if isinstance(booster, lgb.Booster):
                with replacing(folder / f"s{k}.txt") as temporary:
                    temporary.write_text(booster.model_to_string(), encoding="utf-8")
            else:
                constants[k] = booster
        # Last: a folder with model.json is whole.
        write_json(
            folder / "model.json",
            {
                "params": {key: value for key, value in self.get_params().items() if key != "n_jobs"},
                "n_features": self.n_features_in_,
                "n_species": self.n_species_,
                "constants": constants,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the model that `save` wrote to `folder`."""
        stored = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**stored["params"])
        model.n_features_in_ = stored["n_features"]
        model.n_species_ = stored["n_species"]
        constants = {int(k): value for k, value in stored["constants"].items()}
        model.boosters_ = [
            constants[k] if k in constants else lgb.Booster(model_file=folder / f"s{k}.txt")
            for k in range(model.n_species_)
        ]
        return model

    def _fit_species(self, X: np.ndarray, Y: np.ndarray, species: range) -> list[lgb.Booster | float]:
        params = self._lightgbm_params()
        data = lgb.Dataset(X, label=np.zeros(len(X)), params=params, free_raw_data=True).construct()
        boosters: list[lgb.Booster | float] = []
        for k in species:
            known = ~np.isnan(Y[:, k])
            label = Y[:, k] == 1
            weight = np.where(known, 1.0, self.weak_negative_weight)
            rows = np.flatnonzero(weight)
            if label[rows].all() or not label.any():
                # The share of all windows: what is unknown is mostly absent.
                boosters.append(float((label.sum() + 0.5) / (len(label) + 1)))
                continue
            part = data if len(rows) == len(X) else data.subset(rows.tolist()).construct()
            part.set_label(label[rows])
            part.set_weight(weight[rows])
            boosters.append(lgb.train(params, part, num_boost_round=self.n_estimators))
        return boosters

    def _lightgbm_params(self) -> dict[str, Any]:
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_child_samples,
            "lambda_l2": self.reg_lambda,
            "feature_fraction": self.feature_fraction,
            "extra_trees": True,
            "max_bin": self.max_bin,
            "feature_pre_filter": False,
            "seed": self.random_state,
            "num_threads": 1,  # the parallel work is outside, species by species
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


def _predict(booster: lgb.Booster | float, X: np.ndarray) -> np.ndarray:
    if isinstance(booster, lgb.Booster):
        return np.asarray(booster.predict(X, num_threads=1))
    return np.full(len(X), booster)
