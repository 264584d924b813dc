"""Label files as text: encoding, separators and quotes."""

import csv
import io
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from features.annotations.boxes import AnnotationError
from features.common.files import validate_regular_file

MAX_BYTES = 1 << 28
SEPARATORS = ("\t", ";", ",")
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
SEPARATOR_LINE = re.compile(r"sep=.\n")  # Excel's first line of a CSV file


@dataclass(frozen=True)
class LabelFile:
    """The text of a label file.

    Attributes
    ----------
    path : Path
    text : str
        Content with "\\n" as line break.

    Examples
    --------
    >>> file = LabelFile(Path("a.csv"), "Start;Label\\n0,5;owl\\n\\n2,5;frog\\n")
    >>> file.header
    ['Start', 'Label']
    >>> file.table
      Start Label
    2   0,5   owl
    4   2,5  frog
    """

    path: Path
    text: str

    @cached_property
    def header(self) -> list[str]:
        """Fields of the first line."""
        return next(iter(self._fields.values()), [])

    @cached_property
    def table(self) -> pd.DataFrame:
        """The file as a table of text, indexed by line number; the first line is the header.

        Missing fields at the end of a line are empty. Columns without a name are left out.

        Raises
        ------
        AnnotationError
            Two columns have the same name, or a line has more fields than the header.
        """
        (_, *numbers), (_, *rows) = self._fields.keys(), self._fields.values()
        width = len(self.header)
        for number, row in zip(numbers, rows, strict=True):
            if any(field.strip() for field in row[width:]):
                raise AnnotationError(
                    f"{self.path} line {number}: {len(row)} fields, but the header has {width}; check the "
                    f"separators"
                )
        table = pd.DataFrame(
            [[*row, *[""] * width][:width] for row in rows], columns=self.header, index=numbers, dtype=object
        )
        table = table.loc[:, table.columns != ""]
        names = table.columns.str.lower()
        if names.has_duplicates:
            duplicate = table.columns[names.duplicated()][0]
            raise AnnotationError(f"{self.path}: duplicate column '{duplicate}'; keep or rename one")
        return table

    def has_columns(self, *names: str) -> bool:
        """Return whether the header contains all of these names, in upper or lower case."""
        return {name.lower() for name in names} <= {name.lower() for name in self.header}

    @cached_property
    def _fields(self) -> dict[int, list[str]]:
        """Fields of each line that is not empty, by line number."""
        start = len(match.group()) if (match := SEPARATOR_LINE.match(self.text)) else 0
        first = next((line for line in self.text[start:].split("\n") if line.strip()), "")
        separator = "\t" if "\t" in first else max(SEPARATORS[1:], key=first.count)
        try:
            fields = _split(self.text[start:], separator, quoted=True)
            merged = any("\n" in field and "\t" in field for row in fields.values() for field in row)
        except csv.Error as error:
            if separator != "\t":
                raise AnnotationError(f"{self.path}: invalid quotes ({error}); correct them") from error
            merged = True
        if merged:  # most programs write tab-separated text without quotes: a quote is then part of a label
            fields = _split(self.text[start:], separator, quoted=False)
        skipped = self.text[:start].count("\n")
        rows = {number + skipped: [field.strip() for field in row] for number, row in fields.items()}
        return {number: row for number, row in rows.items() if any(row)}


def _split(text: str, separator: str, *, quoted: bool) -> dict[int, list[str]]:
    """Return the fields of each line by line number; a quoted field can contain line breaks."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    fields: dict[int, list[str]] = {}
    number = 1
    for row in reader:
        fields[number] = row
        number = reader.line_num + 1
    return fields


def read_label_file(path: Path) -> LabelFile:
    """Return the text of a label file.

    UTF-8 and UTF-16 are recognised. Other text is read as Windows-1252, which contains Latin-1.

    Raises
    ------
    AnnotationError
        The file is not a regular file, is not text, or has more than `MAX_BYTES` bytes.
    """
    try:
        validate_regular_file(path)
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}; move it elsewhere") from error
    if path.stat().st_size > MAX_BYTES:
        raise AnnotationError(f"{path}: has more than {MAX_BYTES >> 20} MiB; divide it, or move it elsewhere")
    content = path.read_bytes()
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            text = content.decode("cp1252")
        if "\0" in text:
            raise ValueError("it contains NUL characters")
    except ValueError as error:
        raise AnnotationError(f"{path}: not a text file ({error}); save it as UTF-8 text") from error
    return LabelFile(path, text.replace("\r\n", "\n").replace("\r", "\n"))
