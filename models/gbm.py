"""One LightGBM model per species, on the windows whose label is known and weakly on others."""

import json
from pathlib import Path
from typing import Any, Self

import joblib
import lightgbm as lgb
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from features.files import replacing, write_json

VERSION = 3  # raise it when the same parameters and data give other scores
OWN_BINS = 15  # of a species' few known windows; more say no more
SHARED_BINS = 127  # of all windows

# One thread within, because the parallel work is outside, species by species.
LIGHTGBM = {
    "enable_bundle": False,  # of sparse columns, of which there are none
    "feature_pre_filter": False,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


class OneVsRestGBM(BaseEstimator):
    """Independent gradient-boosted trees for each species.

    Parameters
    ----------
    n_estimators, learning_rate, num_leaves, min_child_samples, reg_lambda : as in LightGBM.
    feature_fraction : share of the features that a tree may use.
    extra_trees : grow extremely randomised trees.
    weak_negative_weight : weight of a window whose label is unknown, as a negative; 0 leaves it out.
    random_state : seed of the trees.
    n_jobs : species fitted at a time. The scores do not depend on it.

    Attributes
    ----------
    boosters_ : list of (Booster or float), a constant where a species has one class only.
    n_features_in_, n_species_ : int.

    Notes
    -----
    Extremely randomised trees (Geurts et al. 2006) split at random thresholds. With some twenty
    positives a species they score about as well as best splits, in two thirds of the time.

    Bins are shared by the species, and their edges told by the windows that show any: over all
    windows most bins would go to what is background. Where unknown windows are left out, each
    species has bins of its own, for its known windows lie in few of the shared ones.
    """

    def __init__(
        self,
        n_estimators: int = 150,
        learning_rate: float = 0.08,
        num_leaves: int = 8,
        min_child_samples: int = 10,
        reg_lambda: float = 1.0,
        feature_fraction: float = 0.1,
        extra_trees: bool = True,
        weak_negative_weight: float = 0.1,
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
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on (n_windows, n_features) X and (n_windows, n_species) Y of 1, 0 and nan."""
        if len(X) != len(Y):
            raise ValueError(f"X has {len(X)} rows and Y {len(Y)}; give a label row per window")
        X = np.asarray(X, np.float32)
        self.n_features_in_ = X.shape[1]
        self.n_species_ = Y.shape[1]
        binned = _binned(X, (Y == 1).any(axis=1), self.n_jobs) if self.weak_negative_weight else None
        self.boosters_ = joblib.Parallel(n_jobs=self.n_jobs, prefer="threads")(
            joblib.delayed(self._fit_species)(X, y, binned) for y in Y.T
        )
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_species) probability of each species in each window."""
        check_is_fitted(self)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features; this model was fitted on {self.n_features_in_}")
        X = np.asarray(X, np.float32)  # here, else LightGBM does for each species
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
        """Return the model that `save` wrote to `folder`.

        Raises
        ------
        ValueError, KeyError, TypeError, OSError
            The files are not those that `save` writes.
        """
        stored = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**stored["params"])
        model.n_features_in_ = int(stored["n_features"])
        model.n_species_ = int(stored["n_species"])
        constants = {int(k): float(value) for k, value in stored["constants"].items()}
        model.boosters_ = [
            constants[k] if k in constants else _read_booster(folder / f"s{k}.txt", model.n_features_in_)
            for k in range(model.n_species_)
        ]
        return model

    def _fit_species(self, X: np.ndarray, y: np.ndarray, binned: lgb.Dataset | None) -> lgb.Booster | float:
        """Fit on (n_windows,) labels y; `binned` holds the bins of X, where species share them."""
        known = np.flatnonzero(~np.isnan(y))
        rows = known if binned is None else np.arange(len(y))
        label = y[rows] == 1
        if label.all() or not label.any():
            # The share of all windows: what is unknown is mostly absent.
            return float((label.sum() + 0.5) / (len(y) + 1))
        if binned is None:
            data = lgb.Dataset(X[rows], label, params=LIGHTGBM | {"max_bin": OWN_BINS})
        else:
            weight = np.full(len(rows), self.weak_negative_weight)
            weight[known] = 1
            data = binned.subset(rows.tolist()).construct()  # a copy of the bins, for labels of its own
            data.set_label(label)
            data.set_weight(weight)
        return lgb.train(self._lightgbm_params(), data, num_boost_round=self.n_estimators)

    def _lightgbm_params(self) -> dict[str, Any]:
        return LIGHTGBM | {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_child_samples,
            "lambda_l2": self.reg_lambda,
            "feature_fraction": self.feature_fraction,
            "extra_trees": self.extra_trees,
            "seed": self.random_state,
        }


def _binned(X: np.ndarray, tells: np.ndarray, n_jobs: int) -> lgb.Dataset:
    """Return the windows X in bins whose edges those in the mask `tells` tell; all, if it is empty."""
    params = LIGHTGBM | {"max_bin": SHARED_BINS, "num_threads": joblib.effective_n_jobs(n_jobs)}
    telling = X[tells] if tells.any() else X
    edges = lgb.Dataset(telling, np.zeros(len(telling)), params=params)
    return lgb.Dataset(X, np.zeros(len(X)), reference=edges, params=params).construct()


def _predict(booster: lgb.Booster | float, X: np.ndarray) -> np.ndarray:
    if isinstance(booster, lgb.Booster):
        return np.asarray(booster.predict(X, num_threads=1))
    return np.full(len(X), booster)


def _read_booster(file: Path, n_features: int) -> lgb.Booster:
    """Return the booster in `file`, once its trees are known to lead nowhere but to their own leaves.

    LightGBM follows the numbers of a model's text unchecked, into whatever memory they point at.
    """
    text = file.read_text(encoding="utf-8")
    header, *trees = text.split("\nTree=")
    try:
        wanted = {"num_class": "1", "num_tree_per_iteration": "1", "max_feature_idx": str(n_features - 1)}
        stated = _fields(header)
        if any(stated[key] != value for key, value in wanted.items()) or "\nend of trees" not in text:
            raise ValueError("its header is another model's, or its end is missing")
        for tree in trees:
            _check_tree(_fields(tree.split("\nend of trees")[0]), n_features)
        return lgb.Booster(model_str=text)
    except (ValueError, KeyError, lgb.basic.LightGBMError) as error:
        raise ValueError(f"{file.name} is no model of {n_features} features ({error})") from error


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _check_tree(fields: dict[str, str], n_features: int) -> None:
    """Raise ValueError or KeyError where a tree's numbers point outside of it, or in a circle."""
    n_leaves = int(fields["num_leaves"])
    n_splits = n_leaves - 1
    lengths = {"leaf_value": n_leaves}
    if n_splits:
        lengths |= dict.fromkeys(("threshold", "decision_type", "left_child", "right_child"), n_splits)
        lengths["split_feature"] = n_splits
    if int(fields["num_cat"]) or int(fields.get("is_linear", "0")) or n_leaves < 1:
        raise ValueError("a tree is of another kind")
    values = {key: fields[key].split() for key in lengths}
    if any(len(values[key]) != length for key, length in lengths.items()):
        raise ValueError("a tree's lists are cut")
    if not n_splits:
        return
    split = np.array(values["split_feature"], int)
    # The child of a split is a later split, or -1 - the number of a leaf.
    children = np.array([values["left_child"], values["right_child"]], int)
    outside = (children >= n_splits) | (children < -n_leaves)
    backwards = (children >= 0) & (children <= np.arange(n_splits))
    if (split < 0).any() or (split >= n_features).any() or outside.any() or backwards.any():
        raise ValueError("a tree leads out of itself")
