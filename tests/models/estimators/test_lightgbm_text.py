from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from models.estimators.lightgbm_text import merge, read_booster


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that contains a model with three features."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    params = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    booster = lgb.train(params, lgb.Dataset(X, X[:, 0] > X[:, 1]), num_boost_round=5)
    file = tmp_path / "trees.txt"
    file.write_text(booster.model_to_string(), encoding="utf-8")
    return file


def test_read_model_scores_the_same(file: Path) -> None:
    X = np.random.default_rng(1).normal(size=(50, 3))
    expected = lgb.Booster(model_file=file).predict(X, raw_score=True)
    np.testing.assert_array_equal(read_booster(file, 3).predict(X, raw_score=True), expected)


@pytest.mark.parametrize("n_models", [1, 3])
def test_merged_models_score_the_same(n_models: int) -> None:
    rng = np.random.default_rng(0)
    X, X_new = rng.normal(size=(2, 300, 5))
    params = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    boosters = [
        lgb.train(params, lgb.Dataset(X, X[:, k] > 1), num_boost_round=3 + k) for k in range(n_models)
    ]
    expected = np.column_stack([booster.predict(X_new, raw_score=True) for booster in boosters])
    found = np.asarray(merge(boosters).predict(X_new, raw_score=True)).reshape(len(X_new), -1)
    np.testing.assert_array_equal(found, expected)


def test_wrong_number_of_features_is_rejected(file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"trees\.txt: not a LightGBM model of 4 features .*max_feature_idx is 2"
    ):
        read_booster(file, 4)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left_child", "99 -1 -2", "node or feature that does not exist"),
        ("left_child", "0 -1 -2", "node or feature that does not exist"),
        ("right_child", "-99 -1 -2", "node or feature that does not exist"),
        ("split_feature", "0 1 3", "node or feature that does not exist"),
        ("split_feature", "0 1 -1", "node or feature that does not exist"),
        ("decision_type", "1 2 2", "split is not numerical"),
        ("threshold", "0.5 nan 0.1", "3 finite numbers expected"),
        ("leaf_value", "0.5 0.1", "4 finite numbers expected, found 2"),
        ("num_leaves", "0", "empty, categorical or linear"),
        ("num_cat", "1", "empty, categorical or linear"),
        ("is_linear", "1", "empty, categorical or linear"),
    ],
)
def test_invalid_number_is_rejected(file: Path, field: str, value: str, message: str) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    n = next(k for k, line in enumerate(lines) if line.startswith(f"{field}="))
    lines[n] = f"{field}={value}"
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_booster(file, 3)


@pytest.mark.parametrize("field", ["max_feature_idx", "num_leaves", "left_child", "leaf_value"])
def test_missing_field_is_rejected(file: Path, field: str) -> None:
    text = file.read_text(encoding="utf-8").replace(f"{field}=", "other=")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"missing field '{field}'"):
        read_booster(file, 3)


def test_truncated_file_is_rejected(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: len(text) // 3], encoding="utf-8")
    with pytest.raises(ValueError, match="not a LightGBM model"):
        read_booster(file, 3)
