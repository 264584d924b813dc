import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from features.common import table_writer
from features.common.errors import UserError
from features.common.table_writer import write_table

DIVISIONS = [(), (0, 0), (1,), (7, 7, 19), tuple(range(25))]


def table(n: int = 25) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "recording_id": [f'site/"{k}",ä' for k in range(n)],
            "n": np.arange(n),
            "score": np.where(np.arange(n) % 3 == 0, np.nan, rng.uniform(size=n)),
            "site": [None if k % 2 else "ridge" for k in range(n)],
        }
    )


def divided(rows: pd.DataFrame, ends: tuple[int, ...]) -> Iterator[pd.DataFrame]:
    for start, end in zip((0, *ends), (*ends, len(rows)), strict=True):
        yield rows.iloc[start:end]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_writer, "GROUP_ROWS", 10)


@pytest.mark.parametrize("ends", DIVISIONS)
def test_csv_is_that_of_pandas(tmp_path: Path, ends: tuple[int, ...]) -> None:
    write_table(tmp_path / "x.csv", divided(table(), ends))
    table().to_csv(tmp_path / "expected.csv", index=False)
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


@pytest.mark.parametrize("ends", DIVISIONS)
def test_parquet_file_does_not_depend_on_the_chunks(tmp_path: Path, ends: tuple[int, ...]) -> None:
    for name, rows in (("x", divided(table(), ends)), ("whole", [table()])):
        write_table(tmp_path / f"{name}.parquet", rows)
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), table())


def test_parquet_file_has_row_groups_of_fixed_size(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", divided(table(), (3, 21)))
    metadata = parquet.ParquetFile(tmp_path / "x.parquet").metadata
    assert [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)] == [10, 10, 5]


def test_parquet_file_does_not_state_the_versions_of_pandas(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", [table()])
    assert b"pandas" not in (tmp_path / "x.parquet").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_empty_table_has_its_columns(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.{suffix}"
    write_table(file, [pd.DataFrame(columns=["recording_id", "score"])] * 2)
    read = pd.read_csv(file) if suffix == "csv" else pd.read_parquet(file)
    assert list(read) == ["recording_id", "score"]
    assert len(read) == 0


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_chunks_without_rows_may_have_other_types(tmp_path: Path, suffix: str) -> None:
    empty = pd.DataFrame(columns=list(table()))
    write_table(tmp_path / f"x.{suffix}", [empty, table(), empty])
    write_table(tmp_path / f"y.{suffix}", [table()])
    assert (tmp_path / f"x.{suffix}").read_bytes() == (tmp_path / f"y.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_not_collected(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.{suffix}"
    temporary = tmp_path / f".x.new.{suffix}"
    sizes = []

    def chunks() -> Iterator[pd.DataFrame]:
        for _ in range(50):
            yield table()
            sizes.append(temporary.stat().st_size)

    write_table(file, chunks())
    assert 0 < sizes[25] < sizes[-1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (table().rename(columns={"n": "m"}), "columns .*'m'.* differ from those before"),
        (table()[["n", "recording_id", "score", "site"]], "columns .* differ from those before"),
        (table().assign(n=0.5), "types .*'n': dtype.'float64'.* differ from those before"),
    ],
)
def test_chunk_that_differs_is_rejected(
    tmp_path: Path, suffix: str, second: pd.DataFrame, message: str
) -> None:
    file = tmp_path / f"x.{suffix}"
    file.write_text("before")
    with pytest.raises(ValueError, match=message):
        write_table(file, [table(20), second])
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_table_without_chunks_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no chunks: the columns of the table are unknown"):
        write_table(tmp_path / "x.csv", [])


def test_unknown_suffix_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.xlsx: suffix '\.xlsx' is not \.csv or \.parquet"):
        write_table(tmp_path / "x.xlsx", [table()])


def test_parquet_without_pyarrow_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write_table(tmp_path / "x.csv", [table()])
    with pytest.raises(UserError, match=r"pyarrow.*run pip install -e '\.\[parquet\]', or choose CSV"):
        write_table(tmp_path / "x.parquet", [table()])
    assert not (tmp_path / "x.parquet").exists()
