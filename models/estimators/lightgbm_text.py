"""LightGBM's text format: a reader that validates a model before LightGBM loads it, and a merge of models.

LightGBM does not validate the text of a model. It uses numbers from the text as memory offsets, and
unexpected keywords can end the process. `read_booster` therefore parses the text, validates every number
and passes LightGBM a new text that contains only these numbers.
"""

from collections.abc import Sequence
from pathlib import Path

import lightgbm as lgb
import numpy as np

# SPLIT_FIELDS have one number per split of a tree, LEAF_FIELDS have one number per leaf.
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
NO_TREE = "num_leaves=1\nnum_cat=0\nleaf_value=0.0\nshrinkage=1\nis_linear=0"  # adds 0 to every score
NUMERICAL = (0, 2, 4, 6, 8, 10)  # decision types of numerical splits; odd numbers are categorical splits


def read_booster(file: Path, n_features: int) -> lgb.Booster:
    """Return the binary classifier that is stored in a file in LightGBM's text format.

    Parameters
    ----------
    file : file that contains the text returned by `Booster.model_to_string`.
    n_features : number of features that the model must have.

    Raises
    ------
    ValueError
        The text is not a valid model, or the model has splits that are not numerical, or it does not have
        `n_features` features.
    OSError
        The file cannot be read.
    """
    text = file.read_text(encoding="utf-8")
    try:
        header, blocks = _trees(text)
        last_feature = _fields(header)["max_feature_idx"]
        if last_feature != str(n_features - 1):
            raise ValueError(f"max_feature_idx is {last_feature}")
        trees = [_tree_text(_fields(block), n_features) for block in blocks]
    except (ValueError, KeyError) as error:
        reason = f"missing field {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{file.name}: not a LightGBM model of {n_features} features ({reason})") from error
    return _booster(trees, n_features, n_classes=1)


def merge(boosters: Sequence[lgb.Booster]) -> lgb.Booster:
    """Return a model with a class for each of several binary models, with the same raw scores.

    Predicting with it takes about half as long as with the models one after the other, because LightGBM then
    reads each row of the features once.

    Parameters
    ----------
    boosters : binary classifiers with the same features.
    """
    n_features = boosters[0].num_feature()
    of_model = [_trees(booster.model_to_string())[1] for booster in boosters]
    texts = [[block.partition("\n")[2].strip() for block in blocks] for blocks in of_model]
    n_rounds = max(map(len, texts))
    trees = [trees[k] if k < len(trees) else NO_TREE for k in range(n_rounds) for trees in texts]
    return _booster(trees, n_features, n_classes=len(boosters))


def _booster(trees: Sequence[str], n_features: int, *, n_classes: int) -> lgb.Booster:
    """Return the model that consists of trees; tree k belongs to class k % n_classes."""
    numbered = [f"Tree={k}\n{tree}\n\n" for k, tree in enumerate(trees)]
    fields = {
        "version": "v4",
        "num_class": str(n_classes),
        "num_tree_per_iteration": str(n_classes),
        "label_index": "0",
        "max_feature_idx": str(n_features - 1),
        "objective": "binary sigmoid:1"
        if n_classes == 1
        else f"multiclassova num_class:{n_classes} sigmoid:1",
        "feature_names": " ".join(f"Column_{k}" for k in range(n_features)),
        "feature_infos": " ".join(["none"] * n_features),
        "tree_sizes": " ".join(str(len(tree)) for tree in numbered),
    }
    head = "\n".join(["tree", *(f"{key}={value}" for key, value in fields.items())])
    return lgb.Booster(model_str=f"{head}\n\n{''.join(numbered)}end of trees\n")


def _trees(text: str) -> tuple[str, list[str]]:
    """Return the head of a model's text, and the text of each tree, which begins with its number."""
    head, *blocks = text[: text.index("\nend of trees")].split("\nTree=")
    return head, blocks


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _tree_text(fields: dict[str, str], n_features: int) -> str:
    """Return the text of a tree after validation; raise ValueError or KeyError if the tree is not valid."""
    n_leaves = int(fields["num_leaves"])
    n_splits = n_leaves - 1
    if n_leaves < 1 or fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise ValueError("a tree is empty, categorical or linear")
    found = {"leaf_value": _numbers(fields["leaf_value"], n_leaves, float), "shrinkage": np.ones(1)}
    if n_splits:
        for names, n in ((SPLIT_FIELDS, n_splits), (LEAF_FIELDS, n_leaves)):
            found |= {name: _numbers(fields[name], n, kind) for name, kind in names.items()}
        # A child k >= 0 is a split that comes later; a child k < 0 is the leaf with number -1 - k.
        children = np.array([found["left_child"], found["right_child"]])
        outside = (children >= n_splits) | (children < -n_leaves)
        backwards = (children >= 0) & (children <= np.arange(n_splits))
        split = found["split_feature"]
        if outside.any() or backwards.any() or split.min() < 0 or split.max() >= n_features:
            raise ValueError("a split refers to a node or feature that does not exist")
        if not np.isin(found["decision_type"], NUMERICAL).all():
            raise ValueError("a split is not numerical")
    lists = {name: " ".join(map(repr, values.tolist())) for name, values in found.items()}
    whole = {"num_leaves": str(n_leaves), "num_cat": "0", **lists, "is_linear": "0"}
    return "\n".join(f"{key}={value}" for key, value in whole.items())


def _numbers(text: str, n: int, kind: type) -> np.ndarray:
    values = np.array(text.split(), np.float64 if kind is float else np.int32)
    if len(values) != n or not np.isfinite(values).all():
        raise ValueError(f"{n} finite numbers expected, found {len(values)} values")
    return values
