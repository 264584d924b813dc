"""The table of boxes that every reader of label files returns, and the rules for its values.

A table of boxes is indexed by the line number in its file and has the columns `COLUMNS`:

    recording        text that identifies the audio file: a path or a name; "" if the file does not state it
    species          name of the species
    t_min, t_max     s
    f_min, f_max     Hz; nan if unknown
    verified         "yes", "no", or "" if the box was not reviewed
    songtype         number as text; "" if unknown
    score            score of a detector; nan if there is none
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import CONTROL
from features.data.tables import finite_numbers, validate_rows, validate_values

TIMES = ("t_min", "t_max")
BAND = ("f_min", "f_max")
NUMBERS = (*TIMES, *BAND, "score")
COLUMNS = ("recording", "species", *TIMES, *BAND, "verified", "songtype", "score")
YES = ("yes", "y", "true", "1", "tp", "verified", "confirmed", "positive")
NO = ("no", "n", "false", "0", "fp", "rejected", "negative")
NOT_REVIEWED = ("", "?")
UNKNOWN_NUMBERS = ("", "na", "n/a", "nan", "-")
SONGTYPE = ("songtype", "song type", "songtype_id")
"""Names of the column of song types, in tables of all formats."""


class ReviewColumn(NamedTuple):
    """What the names of a column have in common, in tables of all formats.

    Attributes
    ----------
    meaning : what the column contains, for messages.
    words : one of these words is in the name.
    other : none of these words is in the name.
    """

    meaning: str
    words: frozenset[str]
    other: frozenset[str]


SCORE = ReviewColumn(
    meaning="the score",
    words=frozenset(("score", "confidence", "conf", "probability", "prob", "logit")),
    other=frozenset(("min", "minimum", "threshold")),  # settings of a detector
)
VERDICT = ReviewColumn(
    meaning="the verdict",
    words=frozenset(
        (
            *("verified", "verif", "verification", "verdict", "valid", "validated", "validation"),
            *("review", "reviewed", "correct"),
        )
    ),
    other=SCORE.words
    | frozenset(
        (
            *("note", "notes", "comment", "comments", "remark", "remarks"),
            *("by", "name", "user", "userid", "orgid", "date", "time"),  # who reviewed, and when
        )
    ),
)
UNIT = re.compile(r"[(\[].*?[)\]]")


class AnnotationError(UserError):
    """The error for a label file that is unreadable or contains invalid boxes."""


def find_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the column that has the first of `names` that the table contains, in upper or lower case."""
    found = {column.lower(): column for column in reversed(table.columns)}
    return next((found[name.lower()] for name in names if name.lower() in found), None)


def required_column(table: pd.DataFrame, names: Sequence[str], path: Path) -> str:
    """Return what `find_column` returns.

    Raises
    ------
    AnnotationError
        The table has no such column.
    """
    column = find_column(table, names)
    if column is None:
        expected = "' or '".join(names)
        raise AnnotationError(
            f"{path}: missing column '{expected}' (found: {', '.join(table.columns)}); add or rename it"
        )
    return column


def review_column(table: pd.DataFrame, column: ReviewColumn, path: Path) -> str | None:
    """Return the column of the scores or the verdicts; None if the table has none.

    Parameters
    ----------
    table : pd.DataFrame
    column : ReviewColumn
        `SCORE` or `VERDICT`.
    path : Path
        File of the table, for messages.

    Raises
    ------
    AnnotationError
        Several columns can be meant.

    Examples
    --------
    >>> table = pd.DataFrame(columns=["Confidence (%)", "isVerified?", "verified_by"])
    >>> review_column(table, SCORE, Path("a.csv")), review_column(table, VERDICT, Path("a.csv"))
    ('Confidence (%)', 'isVerified?')
    """
    words = {name: _words(name) for name in table.columns}
    found = [name for name in words if words[name] & column.words and not words[name] & column.other]
    if len(found) > 1:
        raise AnnotationError(
            f"{path}: {column.meaning} can be in column '{found[0]}' or '{found[1]}'; keep or rename one"
        )
    return found[0] if found else None


def _words(name: str) -> set[str]:
    """Return the words in the name of a column in lower case, without units and numbers."""
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", UNIT.sub(" ", name))
    return set(re.findall(r"[^\W\d_]+", separated.lower()))


def box_table(table: pd.DataFrame, columns: Mapping[str, str | None], path: Path) -> pd.DataFrame:
    """Return the boxes of a table of text.

    The columns of verdicts, song types and scores are found by their names, among the other columns.

    Parameters
    ----------
    table : pd.DataFrame
        Text, indexed by line number.
    columns : mapping of str to str or None
        Column of the table for each name in `COLUMNS`; None or a missing name if the table has none.
    path : Path
        File of the table, for messages.

    Raises
    ------
    AnnotationError
        A value is not a number or not a verdict, or several columns can be that of scores or verdicts.

    Examples
    --------
    >>> table = pd.DataFrame({"from": ["0,5"], "to": ["2,25"], "name": ["owl"], "Verified": ["No"]})
    >>> boxes = box_table(table, {"species": "name", "t_min": "from", "t_max": "to"}, Path("a.csv"))
    >>> boxes[["species", "t_min", "t_max", "f_min", "verified"]]
      species  t_min  t_max  f_min verified
    0     owl    0.5   2.25    NaN       no
    """
    others = table.drop(columns=[column for column in columns.values() if column is not None])
    columns = {
        "verified": review_column(others, VERDICT, path),
        "songtype": find_column(others, SONGTYPE),
        "score": review_column(others, SCORE, path),
    } | dict(columns)
    given = {name: column for name, column in columns.items() if column is not None}
    numbers = as_numbers(table[[given[name] for name in NUMBERS if name in given]], path)
    boxes = pd.DataFrame(index=table.index)
    for name in COLUMNS:
        if name in NUMBERS:
            boxes[name] = numbers[given[name]] if name in given else np.nan
        else:
            boxes[name] = table[given[name]].str.strip() if name in given else ""
    boxes["verified"] = verdicts(table[given["verified"]] if "verified" in given else None, boxes, path)
    return boxes


def verdicts(stated: pd.Series | None, boxes: pd.DataFrame, path: Path) -> pd.Series:
    """Return "yes", "no" or "" (not reviewed) for each box.

    Parameters
    ----------
    stated : pd.Series or None
        Text of the column of verdicts; None if the file has no such column. Boxes without a score are then
        drawn by hand and therefore reviewed, and boxes with a score are not reviewed.
    boxes : pd.DataFrame
        Boxes with the column score.
    path : Path
        File of the boxes, for messages.

    Raises
    ------
    AnnotationError
        A verdict is not in `YES`, `NO` or `NOT_REVIEWED`.
    """
    if stated is None:
        return boxes["score"].isna().map({True: "yes", False: ""}).astype(object)
    meaning = dict.fromkeys(YES, "yes") | dict.fromkeys(NO, "no") | dict.fromkeys(NOT_REVIEWED, "")
    verdict = stated.str.strip().str.lower().map(meaning).astype(object)
    validate_values(
        stated,
        verdict.isna(),
        path=path,
        problem="is not a verdict; write 'yes' for a confirmed box, 'no' for a rejected one, and nothing or "
        "'?' if it was not reviewed",
        error=AnnotationError,
    )
    return verdict


def as_numbers(values: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return columns of text as float64, with nan for text in `UNKNOWN_NUMBERS`.

    Decimal commas are accepted if no value contains a decimal point.

    Parameters
    ----------
    values : pd.DataFrame
        Text, indexed by line number.
    path : Path
        File of the values, for messages.

    Raises
    ------
    AnnotationError
        A value is not a finite number, or commas could be decimal commas or thousands separators.

    Examples
    --------
    >>> as_numbers(pd.DataFrame({"start": ["0,5", "12"], "low": ["1200", "NA"]}), Path("a.csv"))
       start     low
    0    0.5  1200.0
    1   12.0     NaN
    """
    text = values.apply(lambda column: column.str.strip())
    with_comma = text.apply(lambda column: column.str.contains(",", regex=False))
    if with_comma.to_numpy(bool).any():
        with_point = text.apply(lambda column: column.str.contains(".", regex=False))
        thousands = text.apply(lambda column: column.str.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+"))
        if with_point.to_numpy(bool).any() or (thousands | ~with_comma).to_numpy(bool).all():
            column = with_comma.any().idxmax()
            line = with_comma[column].idxmax()
            raise AnnotationError(
                f"{path} line {line}: {column} '{text.loc[line, column]}' may have a decimal comma or a "
                f"thousands separator; write all numbers with decimal points and without thousands separators"
            )
        text = text.apply(lambda column: column.str.replace(",", ".", regex=False))
    numbers = text.apply(finite_numbers)
    for column in values:
        unknown = text[column].str.lower().isin(UNKNOWN_NUMBERS)
        validate_values(
            values[column],
            numbers[column].isna() & ~unknown,
            path=path,
            problem="is not a number; correct it",
            error=AnnotationError,
        )
    return numbers


def validate_boxes(boxes: pd.DataFrame, path: Path) -> None:
    """Raise AnnotationError for a reviewed box without a species, or with invalid numbers.

    Boxes that were not reviewed are not validated, because they are not imported.

    Parameters
    ----------
    boxes : pd.DataFrame
        Boxes with the columns `COLUMNS`, indexed by line number.
    path : Path
        File of the boxes, for messages.
    """
    boxes = boxes[boxes["verified"] != ""]
    validate = partial(validate_rows, boxes, path=path, error=AnnotationError)
    validate(boxes["species"] == "", message="no species; add it, or remove the line")
    validate(boxes["species"].str.contains(CONTROL), message="a control character in the species; remove it")
    for name in TIMES:
        validate(boxes[name].isna(), message=f"no {name}; add the time in seconds")
    for name in ("t_min", *BAND):
        validate(boxes[name] < 0, message=f"{name} {{{name}:g}} is below 0; correct it")
    for low, high in (TIMES, BAND):
        validate(
            boxes[high] <= boxes[low],
            message=f"{high} {{{high}:g}} is not above {low} {{{low}:g}}; correct or remove the box",
        )
    songtype = boxes["songtype"].map(lambda text: text == "" or bool(re.fullmatch(r"\d+(\.\d*)?", text)))
    validate(~songtype.astype(bool), message="songtype '{songtype}' is not a number; correct it")


def without_half_bands(boxes: pd.DataFrame) -> pd.DataFrame:
    """Return boxes in which both frequencies are unknown if one of them is."""
    band = boxes[list(BAND)]
    boxes[list(BAND)] = band.where(band.notna().all(axis=1))
    return boxes
