import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.tables import (
    DatasetError,
    column_as_numbers,
    finite_numbers,
    read_numbers,
    read_table,
    validate_rows,
    validate_unique,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def test_table_is_text_indexed_by_line_number(file: Path) -> None:
    file.write_text("id, value,note\na,1,NA\n\nb,02\n")
    table = read_table(file, ("id", "value"))
    assert table.columns.tolist() == ["id", "value", "note"]
    assert table.index.tolist() == [2, 4]
    assert table.to_numpy().tolist() == [["a", "1", "NA"], ["b", "02", ""]]


def test_missing_column_is_rejected_with_the_columns_found(file: Path) -> None:
    file.write_text("id,value\na,1\n")
    with pytest.raises(
        DatasetError, match=r"table\.csv: missing column 'name' \(found: id, value\); add it, separated"
    ):
        read_table(file, ("id", "name"))


@pytest.mark.parametrize("recording_id", ["a//b", "/a", "a/", "../a", "a/./b", "..", "", "a\\b"])
def test_recording_id_that_is_not_a_path_below_a_folder_is_rejected(file: Path, recording_id: str) -> None:
    file.write_text(f"recording_id,value\na,1\n{recording_id},2\n")
    with pytest.raises(DatasetError, match=r"table\.csv line 3: recording_id .* is not a path below"):
        read_table(file, ("recording_id",))


def test_numbers_are_read_by_key(file: Path) -> None:
    file.write_text("value,name\n0.5,owl\n1e-3,frog\n")
    assert read_numbers(file, "name", "value") == {"owl": 0.5, "frog": 0.001}


def test_duplicate_key_is_rejected(file: Path) -> None:
    file.write_text("name,value\nowl,1\nfrog,1\nowl,2\n")
    with pytest.raises(DatasetError, match=r"table\.csv line 4: duplicate name 'owl'; keep one line"):
        read_numbers(file, "name", "value")
    validate_unique(read_table(file, ("name",)).iloc[:2], "name", file)


@pytest.mark.parametrize("text", ["", "x", "-1", "inf", "nan", "1e309"])
def test_text_that_is_not_a_finite_number_from_zero_up_is_rejected(file: Path, text: str) -> None:
    table = pd.DataFrame({"value": ["0", text]}, index=[2, 3])
    with pytest.raises(
        DatasetError, match=rf"table\.csv line 3: value '{text}' is not a number >= 0; correct"
    ):
        column_as_numbers(table, "value", file)


def test_finite_numbers_are_float64_with_nan_for_other_text() -> None:
    numbers = finite_numbers(pd.Series(["1", "-2.5", "x", "inf", "", "1e400"]))
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [1, -2.5, np.nan, np.nan, np.nan, np.nan])


def test_first_invalid_row_is_named_with_its_values(file: Path) -> None:
    table = pd.DataFrame({"name": ["owl", "frog", "wren"], "value": [1.0, 2.5, 3.0]}, index=[2, 3, 4])
    message = "{name} has {value:g}; correct it"
    validate_rows(table, table["value"] > 5, path=file, message=message)
    with pytest.raises(DatasetError, match=r"table\.csv line 3: frog has 2\.5; correct it"):
        validate_rows(table, table["value"] > 2, path=file, message=message)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_is_rejected_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DatasetError, match=r"x\.csv: not a CSV table \(.*not a regular file"):
        read_table(tmp_path / "x.csv", ("recording_id",))


def test_link_to_itself_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.csv").symlink_to(tmp_path / "x.csv")
    with pytest.raises(DatasetError, match=r"x\.csv: not a CSV table \(.*symbolic links"):
        read_table(tmp_path / "x.csv", ("recording_id",))
