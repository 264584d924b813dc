"""Text in CSV files that a spreadsheet program would take for a formula.

Text that begins with =, +, - or @ is a formula in a spreadsheet. A formula in the name of a recording or a
species could run commands or send data away. Such text is written with an apostrophe before it, and read
without it; numbers stay as they are. Files for other programs (Raven, Audacity, Camtrap DP) have plain names.
Source: OWASP, "CSV injection", https://owasp.org/www-community/attacks/CSV_Injection.
"""

import re
from collections.abc import Hashable

import pandas as pd

FORMULA = re.compile(r"'*[=+\-@]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def escape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with an apostrophe before each text and column name that is like a formula.

    Parameters
    ----------
    table : pd.DataFrame

    Examples
    --------
    >>> table = pd.DataFrame({"recording_id": ["a", "=1+1", "-3.5"], "score": [0.1, 0.2, -0.3]})
    >>> print(escape_formulas(table).to_csv(index=False))
    recording_id,score
    a,0.1
    '=1+1,0.2
    -3.5,-0.3
    <BLANKLINE>
    """
    escaped = table.rename(columns=_escape)
    for k, of_column in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(of_column):
            escaped.isetitem(k, table.iloc[:, k].map(_escape).array)
    return escaped


def unescape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text as it was before `escape_formulas`, with its column names."""
    return table.replace(rf"^'(?={FORMULA.pattern})", "", regex=True).rename(columns=_unescape)


def _escape(value: Hashable) -> Hashable:
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _unescape(value: Hashable) -> Hashable:
    if isinstance(value, str) and value.startswith("'") and FORMULA.match(value):
        return value[1:]
    return value
