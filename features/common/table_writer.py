"""Write a table of any length, chunk by chunk, as CSV or Parquet; read the rows of a small one."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from features.common.errors import UserError
from features.common.files import replacing
from features.common.formulas import escape_formulas

GROUP_ROWS = 4_096  # rows that are written at once


def write_table(path: Path, chunks: Iterable[pd.DataFrame]) -> None:
    """Write chunks of rows as one table.

    Memory does not grow with the number of rows. The file does not depend on how the rows are divided into
    chunks. In CSV files, text that is like a formula is escaped, see `features.common.formulas`.

    Parameters
    ----------
    path : Path
        The file to write; its suffix is .csv or .parquet. It is replaced once all chunks have been written.
    chunks : iterable of pd.DataFrame
        Rows with the same columns and types in every chunk; a chunk without rows may have other types. At
        least one chunk is required, because it names the columns of an empty table.

    Raises
    ------
    ValueError
        The suffix is not known, there are no chunks, or two chunks have different columns or types.
    UserError
        The file cannot be written, or pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "scores.csv"
    >>> write_table(file, (pd.DataFrame({"recording_id": [name], "owl": [0.5]}) for name in "ab"))
    >>> file.read_text().split()
    ['recording_id,owl', 'a,0.5', 'b,0.5']
    """
    if path.suffix == ".csv":
        with replacing(path) as temporary:
            _write_csv(temporary, _groups(chunks))
    elif path.suffix == ".parquet":
        validate_parquet()
        with replacing(path) as temporary:
            _write_parquet(temporary, _groups(chunks))
    else:
        raise ValueError(f"{path}: suffix '{path.suffix}' is not .csv or .parquet")


def each_row(table: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table as tuples.

    This is several times as fast as `DataFrame.itertuples` and `DataFrame.to_dict` for tables with few rows.

    Examples
    --------
    >>> list(each_row(pd.DataFrame({"species": ["owl", "frog"], "t_min": [0.5, 2.0]})))
    [('owl', 0.5), ('frog', 2.0)]
    """
    return zip(*(table[name].tolist() for name in table), strict=True)


def validate_parquet() -> None:
    """Raise UserError if pyarrow, which writes Parquet files, is not installed."""
    if find_spec("pyarrow") is None:
        raise UserError(
            "Parquet files require pyarrow, which is not installed; run pip install -e '.[parquet]', or "
            "choose CSV"
        )


def _write_csv(file: Path, groups: Iterator[pd.DataFrame]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        for k, group in enumerate(groups):
            escape_formulas(group).to_csv(opened, index=False, header=k == 0)


def _write_parquet(file: Path, groups: Iterator[pd.DataFrame]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    first = next(groups)
    schema = pa.Schema.from_pandas(first, preserve_index=False).remove_metadata()
    with parquet.ParquetWriter(file, schema) as writer:
        for group in chain([first], groups):
            writer.write_table(pa.Table.from_pandas(group, schema, preserve_index=False))


def _groups(chunks: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield the rows of all chunks in groups of `GROUP_ROWS`, or one group without rows.

    Raises
    ------
    ValueError
        There are no chunks, or the columns or their types change.
    """
    types: pd.Series | None = None
    for group in _regrouped(chunks):
        if types is None:
            types = group.dtypes
        if not group.dtypes.equals(types):
            raise ValueError(f"types {group.dtypes.to_dict()} differ from those before: {types.to_dict()}")
        yield group


def _regrouped(chunks: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    first: pd.DataFrame | None = None
    parts: list[pd.DataFrame] = []
    n_rows, n_groups = 0, 0
    for chunk in chunks:
        if first is None:
            first = chunk
        if list(chunk) != list(first):
            raise ValueError(f"columns {list(chunk)} differ from those before: {list(first)}")
        rest = chunk
        while len(rest):
            parts.append(rest.iloc[: GROUP_ROWS - n_rows])
            n_rows += len(parts[-1])
            rest = rest.iloc[len(parts[-1]) :]
            if n_rows == GROUP_ROWS:
                yield pd.concat(parts, ignore_index=True)
                parts, n_rows, n_groups = [], 0, n_groups + 1
    if first is None:
        raise ValueError("no chunks: the columns of the table are unknown")
    if parts or not n_groups:
        yield pd.concat(parts or [first], ignore_index=True)
