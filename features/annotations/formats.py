"""The formats of label files, and their recognition by content.

To add a format, write its module and add a line to `FORMATS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from features.annotations.audacity import is_audacity, read_audacity
from features.annotations.birdnet import is_birdnet, read_birdnet
from features.annotations.boxes import AnnotationError, validate_boxes
from features.annotations.kaleidoscope import is_kaleidoscope, read_kaleidoscope
from features.annotations.label_file import LabelFile, read_label_file
from features.annotations.raven import is_raven, read_raven
from features.annotations.spreadsheet import is_spreadsheet, read_spreadsheet


class LabelFormat(NamedTuple):
    """A format of label files.

    Attributes
    ----------
    name : name for messages.
    recognises : whether a file has the format.
    read : a file and the name of its label column, or None -> table of boxes.
    """

    name: str
    recognises: Callable[[LabelFile], bool]
    read: Callable[[LabelFile, str | None], pd.DataFrame]


FORMATS = (  # the first format that recognises a file reads it
    LabelFormat("Audacity label track", is_audacity, lambda file, _: read_audacity(file)),
    LabelFormat("BirdNET-Analyzer output", is_birdnet, read_birdnet),
    LabelFormat("Raven selection table", is_raven, read_raven),
    LabelFormat("Kaleidoscope table", is_kaleidoscope, lambda file, _: read_kaleidoscope(file)),
    LabelFormat("table of recording, start, end and label", is_spreadsheet, read_spreadsheet),
)


def read_labels(path: Path, label_column: str | None = None) -> tuple[str, pd.DataFrame]:
    """Return the name of a label file's format and its boxes.

    Parameters
    ----------
    path : Path
    label_column : str, optional
        Column of the species in tables that have a header, except those of Kaleidoscope.

    Returns
    -------
    name : str
        A name in `FORMATS`.
    boxes : pd.DataFrame
        Table of boxes as described in `features.annotations.boxes`.

    Raises
    ------
    AnnotationError
        The file has none of the formats, or its content is not valid.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "season.csv"
    >>> _ = path.write_text("File,Start,End,Species\\nsite1/a.wav,0.5,2,owl\\n")
    >>> name, boxes = read_labels(path)
    >>> name
    'table of recording, start, end and label'
    >>> boxes[["recording", "species", "t_min", "t_max", "verified"]]
         recording species  t_min  t_max verified
    2  site1/a.wav     owl    0.5    2.0      yes
    """
    file = read_label_file(path)
    for known in FORMATS:
        if known.recognises(file):
            boxes = known.read(file, label_column)
            validate_boxes(boxes, path)
            return known.name, boxes
    first = " ".join(file.header)[:60]
    expected = ", ".join(known.name for known in FORMATS)
    raise AnnotationError(
        f"{path}: not a label file (first line: '{first}'; expected: {expected}); correct the header, or "
        f"move the file out of the folder"
    )
