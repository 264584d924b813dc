"""Text that is like a formula is escaped in CSV files, and read as it was."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.common.formulas import escape_formulas, unescape_formulas

TEXT = st.text(st.sampled_from("=+-@'a1.e,;\""), max_size=6)


@given(st.lists(TEXT, min_size=1, max_size=5), TEXT)
def test_escaped_table_is_read_as_it_was(values: list[str], name: str) -> None:
    table = pd.DataFrame({name: values, "number": range(len(values))})
    escaped = escape_formulas(table)
    pd.testing.assert_frame_equal(unescape_formulas(escaped), table)
    for text in [*escaped.columns, *escaped.iloc[:, 0]]:
        assert text[:1] not in tuple("=+-@") or is_number(text)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "-inf", "+nan", "'=1", "-"]
)
def test_formula_is_escaped(text: str) -> None:
    written = escape_formulas(pd.DataFrame({text: [text]})).to_csv(index=False)
    assert pd.read_csv(io.StringIO(written), dtype=str).columns[0] == f"'{text}"
    assert pd.read_csv(io.StringIO(written), dtype=str).iloc[0, 0] == f"'{text}"


@pytest.mark.parametrize("text", ["", "owl", "-3.5", "+1e-3", "owl = bird", "'owl'", "a-b"])
def test_other_text_is_not_changed(text: str) -> None:
    table = pd.DataFrame({text: [text]})
    assert escape_formulas(table).to_csv() == table.to_csv()


def test_numbers_and_missing_values_are_not_changed() -> None:
    table = pd.DataFrame({"score": [-0.5, 1.0], "count": [-1, 2], "start": ["", None]})
    pd.testing.assert_frame_equal(escape_formulas(table), table)
