"""Reading and validation of CSV tables, with error messages that name the file and the line.

`read_table` returns tables of text that are indexed by line number. The header is line 1.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import validate_inside_folder, validate_regular_file
from features.common.formulas import unescape_formulas


class DatasetError(UserError):
    """The error for a data set that does not follow the layout described in `features.data.dataset`."""


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a CSV table as text, indexed by line number, without the apostrophes before formulas.

    Parameters
    ----------
    path : Path
        A CSV file, UTF-8 with or without a byte order mark.
    columns : tuple of str
        Required columns; additional columns are kept. Values of "recording_id" must be relative
        paths without suffix.

    Raises
    ------
    DatasetError
        The file is missing or is not a CSV table, a column is missing or duplicate, or a recording id is not
        valid.
    UserError
        The file is a symbolic link that points outside its folder.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "groups.csv"
    >>> _ = file.write_text("recording_id,group\\na,forest\\nb,river\\n")
    >>> read_table(file, ("recording_id", "group"))
      recording_id   group
    2            a  forest
    3            b   river
    """
    validate_inside_folder(path, path.parent)
    try:
        validate_regular_file(path)
        # utf-8-sig: spreadsheets write a byte order mark, which is not part of the first column's name.
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False, header=None
        )
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: file not found; add it, or correct the path") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: byte {error.object[error.start]:#04x} at position {error.start} is not UTF-8; "
            f"save the file as UTF-8"
        ) from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DatasetError(f"{path}: not a CSV table ({reason}); save it as comma-separated text") from error
    table = unescape_formulas(table.fillna(""))  # lines with fewer fields than the header
    header = pd.Index(table.iloc[0].str.strip())
    table.columns = header.rename(None)
    table.index = pd.RangeIndex(1, len(table) + 1)
    table = table.iloc[1:]
    table = table[(table != "").any(axis=1)]
    if table.columns.has_duplicates:
        duplicate = table.columns[table.columns.duplicated()][0]
        raise DatasetError(f"{path}: duplicate column '{duplicate}'; keep one")
    for column in columns:
        if column not in table.columns:
            raise DatasetError(
                f"{path}: missing column '{column}' (found: {', '.join(table.columns)}); add it, "
                f"separated by commas"
            )
    if "recording_id" in columns:
        unsafe = table["recording_id"].str.contains(r"[\\\0]|(?:^|/)\.*(?:$|/)", regex=True)
        validate_rows(
            table,
            unsafe,
            path=path,
            message="recording_id '{recording_id}' is not a path below the folder of recordings; give folder "
            "and file name without suffix, separated by /",
        )
    return table


def read_numbers(path: Path, key: str, value: str) -> dict[str, float]:
    """Return two columns of a CSV table as a dict of text to number.

    Parameters
    ----------
    path : Path
    key : str
        Column of the keys, which must be unique.
    value : str
        Column of the values, which must be finite numbers >= 0.

    Raises
    ------
    DatasetError
        As in `read_table`; also if a key is duplicate or a value is not a finite number >= 0.
    """
    table = read_table(path, (key, value))
    validate_unique(table, key, path)
    return dict(zip(table[key], column_as_numbers(table, value, path), strict=True))


def column_as_numbers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """Return a column as float64.

    Raises
    ------
    DatasetError
        A value is not a finite number >= 0.
    """
    values = finite_numbers(table[column])
    validate_values(table[column], ~(values >= 0), path=path, problem="is not a number >= 0; correct it")
    return values


def finite_numbers(values: pd.Series) -> pd.Series:
    """Return text values as float64, with nan for text that is not a finite number."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    return numbers.where(np.isfinite(numbers))


def validate_values(
    values: pd.Series,
    invalid: pd.Series,
    *,
    path: Path,
    problem: str,
    error: type[UserError] = DatasetError,
) -> None:
    """Raise an error for the first invalid value of a column.

    Parameters
    ----------
    values : pd.Series
        The column, indexed by line number.
    invalid : pd.Series
        bool for each value, true if it is invalid.
    path : Path
        File of the table, for the message.
    problem : str
        What is wrong and how to correct it.
    error : type of UserError
        Class of the error.
    """
    if invalid.any():
        value = values[invalid]
        raise error(f"{path} line {value.index[0]}: {values.name} '{value.iloc[0]}' {problem}")


def validate_rows(
    table: pd.DataFrame,
    invalid: pd.Series,
    *,
    path: Path,
    message: str,
    error: type[UserError] = DatasetError,
) -> None:
    """Raise an error for the first invalid row of a table.

    Parameters
    ----------
    table : pd.DataFrame
        Indexed by line number.
    invalid : pd.Series
        bool for each row, true if it is invalid.
    path : Path
        File of the table, for the message.
    message : str
        What is wrong and how to correct it; "{column}" stands for the row's value in that column.
    error : type of UserError
        Class of the error.
    """
    if invalid.any():
        row = table[invalid].iloc[0]
        raise error(f"{path} line {row.name}: {message.format(**row)}")


def validate_unique(table: pd.DataFrame, column: str, path: Path) -> None:
    """Raise DatasetError if a column contains a value more than once."""
    message = f"duplicate {column} '{{{column}}}'; keep one line"
    validate_rows(table, table[column].duplicated(), path=path, message=message)
