"""One LightGBM model per species, beside a linear one; unknown windows are weak negatives."""

import json
from pathlib import Path
from typing import Any, Self

import joblib
import lightgbm as lgb
import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from features.common.files import replacing, write_json
from models.estimators.labels import check_labels, constant_log_odds, multilabel_tags
from models.estimators.ridge_discriminant import RidgeDiscriminant

VERSION = 4  # raise it when the same parameters and data give other scores
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

# The lists of numbers that make a tree in LightGBM's text: of its splits, and of its leaves.
SPLIT_FIELDS = {
    "split_feature": int,
    "split_gain": float,
    "threshold": float,
    "decision_type": int,
    "left_child": int,
    "right_child": int,
    "internal_value": float,
    "internal_weight": float,
    "internal_count": int,
}
LEAF_FIELDS = {"leaf_value": float, "leaf_weight": float, "leaf_count": int}
NUMERICAL = (0, 2, 4, 6, 8, 10)  # kinds of split; the odd ones are of categories


class OneVsRestGBM(BaseEstimator):
    """Gradient-boosted trees for each species, averaged with a linear discriminant in log odds.

    Parameters
    ----------
    n_estimators, learning_rate, num_leaves, min_child_samples, reg_lambda : as in LightGBM.
    feature_fraction : share of the features that a tree may use.
    extra_trees : grow extremely randomised trees.
    weak_negative_weight : weight of a window whose label is unknown, as a negative; the trees leave it out
        at 0.
    ridge_alpha : penalty of the linear part.
    linear_share : weight of the linear part in the log odds, from 0, trees alone, to less than 1.
    random_state : seed of the trees.
    n_jobs : species fitted at a time. The scores do not depend on it.

    Attributes
    ----------
    boosters_ : list of (Booster or float), constant log odds where a species has one class only.
    linear_ : RidgeDiscriminant or None.
    n_features_in_, n_species_ : int.

    Notes
    -----
    With some twenty calls a species, trees find what few columns tell and a linear model what many tell in
    sum. Their mean ranks far better than the trees; than the linear model clearly where folds keep sites
    whole, elsewhere by no more than chance may give (results/README.md).

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
        ridge_alpha: float = 300.0,
        linear_share: float = 0.5,
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
        self.ridge_alpha = ridge_alpha
        self.linear_share = linear_share
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        """Fit on (n_windows, n_features) X and (n_windows, n_species) Y of 1, 0 and nan."""
        X = validate_data(self, X, dtype=np.float32)  # sets n_features_in_
        Y = check_labels(Y, len(X))
        self._check_share()
        self.n_species_ = Y.shape[1]
        binned = _binned(X, (Y == 1).any(axis=1), self.n_jobs) if self.weak_negative_weight else None
        self.boosters_ = joblib.Parallel(n_jobs=self.n_jobs, prefer="threads")(
            joblib.delayed(self._fit_species)(X, y, binned) for y in Y.T
        )
        self.linear_ = None
        if self.linear_share:
            self.linear_ = RidgeDiscriminant(self.ridge_alpha, self.weak_negative_weight).fit(X, Y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the (n_windows, n_species) probability of each species in each window."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)  # here, else LightGBM does for each species
        columns = joblib.Parallel(n_jobs=self.n_jobs, prefer="threads")(
            joblib.delayed(_log_odds)(booster, X) for booster in self.boosters_
        )
        log_odds = np.column_stack(columns)
        if self.linear_ is not None:
            log_odds += self.linear_share * (self.linear_.decision_function(X) - log_odds)
        return np.asarray(expit(log_odds))

    def importance(self) -> np.ndarray:
        """Return (n_species, n_features) the share that each feature has in deciding on a species.

        In the trees, of the loss that splits took; in the linear part, of the squared coefficients of
        standardised features.
        """
        check_is_fitted(self)
        total = np.zeros((self.n_species_, self.n_features_in_))
        for k, booster in enumerate(self.boosters_):
            if isinstance(booster, lgb.Booster):
                total[k] = booster.feature_importance("gain")
        share = total / np.maximum(total.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        if self.linear_ is not None:
            share += self.linear_share * (self.linear_.importance() - share)
        return share

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        """Return (n_windows, n_features) what each feature adds to the log odds of a species: SHAP values.

        Exact for trees, after Lundberg et al. (2020), by LightGBM, and for the linear part.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        booster = self.boosters_[species]
        added = np.zeros(X.shape)
        if isinstance(booster, lgb.Booster):
            added += np.asarray(booster.predict(X, pred_contrib=True))[:, :-1]
        if self.linear_ is not None:
            added += self.linear_share * (self.linear_.contributions(X, species) - added)
        return added

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__())

    def save(self, folder: Path) -> None:
        """Write the model as data: `model.json`, a text of trees per species, the linear part's arrays."""
        check_is_fitted(self)
        constants = {}
        for k, booster in enumerate(self.boosters_):
            if isinstance(booster, lgb.Booster):
                with replacing(folder / f"s{k}.txt") as temporary:
                    temporary.write_text(booster.model_to_string(), encoding="utf-8")
            else:
                constants[k] = booster
        if self.linear_ is not None:
            self.linear_.save(folder)
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
        model._check_share()
        model.linear_ = None
        if model.linear_share:
            model.linear_ = RidgeDiscriminant.load(folder, model.n_features_in_, model.n_species_)
        return model

    def _check_share(self) -> None:
        if not 0 <= self.linear_share < 1:
            raise ValueError(f"linear_share {self.linear_share} is not from 0 to less than 1; correct it")

    def _fit_species(self, X: np.ndarray, y: np.ndarray, binned: lgb.Dataset | None) -> lgb.Booster | float:
        """Fit on (n_windows,) labels y; `binned` holds the bins of X, where species share them."""
        constant = constant_log_odds(y, self.weak_negative_weight)
        if constant is not None:
            return constant
        known = np.flatnonzero(~np.isnan(y))
        rows = known if binned is None else np.arange(len(y))
        label = y[rows] == 1
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


def _log_odds(booster: lgb.Booster | float, X: np.ndarray) -> np.ndarray:
    if isinstance(booster, lgb.Booster):
        return np.asarray(booster.predict(X, raw_score=True, num_threads=1))
    return np.full(len(X), booster)


def _read_booster(file: Path, n_features: int) -> lgb.Booster:
    """Return the booster in a file that `save` wrote.

    LightGBM trusts a model's text: it follows numbers into whatever memory they point at, and words that
    it does not expect can end the process. So it is handed a text of its own kind that is written anew from
    the file's numbers, once they are known to lead nowhere but to their trees' own leaves.
    """
    text = file.read_text(encoding="utf-8")
    try:
        header, *blocks = text[: text.index("\nend of trees")].split("\nTree=")
        if _fields(header)["max_feature_idx"] != str(n_features - 1):
            raise ValueError("it has others")
        trees = [_tree_text(_fields(block), n_features) for block in blocks]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{file.name} is no model of {n_features} features: {error}") from error
    numbered = [f"Tree={k}\n{tree}\n\n" for k, tree in enumerate(trees)]
    fields = {
        "version": "v4",
        "num_class": "1",
        "num_tree_per_iteration": "1",
        "label_index": "0",
        "max_feature_idx": str(n_features - 1),
        "objective": "binary sigmoid:1",
        "feature_names": " ".join(f"Column_{k}" for k in range(n_features)),
        "feature_infos": " ".join(["none"] * n_features),
        "tree_sizes": " ".join(str(len(tree)) for tree in numbered),
    }
    head = "\n".join(["tree", *(f"{key}={value}" for key, value in fields.items())])
    return lgb.Booster(model_str=f"{head}\n\n{''.join(numbered)}end of trees\n")


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _tree_text(fields: dict[str, str], n_features: int) -> str:
    """Return a tree's text, of its numbers; ValueError or KeyError where they are not those of a tree."""
    n_leaves = int(fields["num_leaves"])
    n_splits = n_leaves - 1
    if n_leaves < 1 or fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise ValueError("a tree is of another kind")
    found = {"leaf_value": _numbers(fields["leaf_value"], n_leaves, float), "shrinkage": np.ones(1)}
    if n_splits:
        for names, n in ((SPLIT_FIELDS, n_splits), (LEAF_FIELDS, n_leaves)):
            found |= {name: _numbers(fields[name], n, kind) for name, kind in names.items()}
        # The child of a split is a later split, or -1 - the number of a leaf.
        children = np.array([found["left_child"], found["right_child"]])
        outside = (children >= n_splits) | (children < -n_leaves)
        backwards = (children >= 0) & (children <= np.arange(n_splits))
        split = found["split_feature"]
        if outside.any() or backwards.any() or split.min() < 0 or split.max() >= n_features:
            raise ValueError("a tree leads out of itself")
        if not np.isin(found["decision_type"], NUMERICAL).all():
            raise ValueError("a split is not of numbers")
    lists = {name: " ".join(map(repr, values.tolist())) for name, values in found.items()}
    whole = {"num_leaves": str(n_leaves), "num_cat": "0", **lists, "is_linear": "0"}
    return "\n".join(f"{key}={value}" for key, value in whole.items())


def _numbers(text: str, n: int, kind: type) -> np.ndarray:
    values = np.array(text.split(), np.float64 if kind is float else np.int32)
    if len(values) != n or not np.isfinite(values).all():
        raise ValueError("a tree's numbers are cut, or none")
    return values
