from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from features.columns.block import ArraySpec, read_block

SPECS: Mapping[str, ArraySpec] = {
    "values": ArraySpec(("n", 2), float, 0, 1),
    "rows": ArraySpec(("n",), int, 0, 9),
}


def stored(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "block.npz", **arrays)
    return folder / "block.npz"


def test_valid_arrays_are_returned_in_the_specified_type(tmp_path: Path) -> None:
    values, rows = np.array([[0, 1], [0.5, 0.25]], np.float32), np.array([3, 4], np.int8)
    arrays = read_block(stored(tmp_path, values=values, rows=rows, other=np.zeros(1)), SPECS)
    assert set(arrays) == {"values", "rows"}
    assert arrays["values"].dtype == np.float64
    assert arrays["rows"].dtype == int
    np.testing.assert_array_equal(arrays["values"], values)
    np.testing.assert_array_equal(arrays["rows"], rows)


@pytest.mark.parametrize(
    ("values", "rows", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2, int), "'values' has shape"),
        (np.zeros(2), np.zeros(2, int), "'values' has shape"),
        (np.zeros((2, 2)), np.zeros(3, int), "'rows' has shape"),  # not the same n as in values
        (np.zeros((2, 2)), np.zeros(2), "'rows' has type float64, not int"),
        (np.full((2, 2), np.nan), np.zeros(2, int), "'values' has values outside 0 to 1"),
        (np.full((2, 2), np.inf), np.zeros(2, int), "'values' has values outside 0 to 1"),
        (np.zeros((2, 2)), np.full(2, 10), "'rows' has values outside 0 to 9"),
        (np.array([["a", "b"]]), np.zeros(1, int), "'values' has type"),
    ],
)
def test_invalid_array_is_rejected(
    tmp_path: Path, values: np.ndarray, rows: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"block\.npz: array {message}"):
        read_block(stored(tmp_path, values=values, rows=rows), SPECS)


def test_missing_array_missing_file_and_pickled_array_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not contain the expected arrays"):
        read_block(tmp_path / "block.npz", SPECS)
    with pytest.raises(ValueError, match="does not contain the expected arrays"):
        read_block(stored(tmp_path, values=np.zeros((2, 2))), SPECS)
    file = stored(tmp_path, values=np.zeros((1, 2)), rows=np.array([{}], object))
    with pytest.raises(ValueError, match="does not contain the expected arrays"):
        read_block(file, SPECS)
