"""Output of BirdNET-Analyzer: selection tables for Raven, and its three kinds of CSV files.

The species is the common name, because it is the only name in all of them. Detections are not reviewed unless
a reviewer has added a column Verified.
"""

import pandas as pd

from features.annotations.boxes import BAND, box_table, find_column, required_column
from features.annotations.kaleidoscope import boxes_by_length, is_kaleidoscope
from features.annotations.label_file import LabelFile
from features.annotations.raven import is_raven, read_raven

COMMON_NAMES = ("Common Name", "common_name")
SCIENTIFIC_NAMES = ("Scientific name", "scientific_name")
CSV_COLUMNS = (
    {"recording": "File", "t_min": "Start (s)", "t_max": "End (s)"},
    {"recording": "filepath", "t_min": "start", "t_max": "end"},
)


def is_birdnet(file: LabelFile) -> bool:
    """Return whether a file is output of BirdNET-Analyzer."""
    if not (file.has_columns("Confidence") and any(file.has_columns(name) for name in COMMON_NAMES)):
        return False
    if is_raven(file):
        return file.has_columns("Species Code")
    if not any(file.has_columns(name) for name in SCIENTIFIC_NAMES):
        return False
    return is_kaleidoscope(file) or _csv_columns(file) is not None


def read_birdnet(file: LabelFile, label_column: str | None = None) -> pd.DataFrame:
    """Return the boxes of a file of BirdNET-Analyzer.

    The frequencies in its selection tables are those of its filter: bands that begin at 0 Hz, and the widest
    band of the table. The frequencies of these calls are unknown. Other bands are those of a reviewer.

    Parameters
    ----------
    file : LabelFile
    label_column : str, optional
        Column of the species; the default is the common name.

    Raises
    ------
    AnnotationError
        A column is missing, or a value is not valid.
    """
    if is_raven(file):
        boxes = read_raven(file, label_column)
        band = boxes[list(BAND)]
        width = band["f_max"] - band["f_min"]
        is_filter = (band["f_min"] <= 0) | (width == width.max())
        boxes[list(BAND)] = band.mask(is_filter)
        return boxes
    names = (label_column,) if label_column else COMMON_NAMES
    species = required_column(file.table, names, file.path)
    if is_kaleidoscope(file):
        return boxes_by_length(file, species)
    columns = _csv_columns(file) or {}
    found = {name: find_column(file.table, (column,)) for name, column in columns.items()}
    return box_table(file.table, {"species": species, **found}, file.path)


def _csv_columns(file: LabelFile) -> dict[str, str] | None:
    """Return the names of the columns in a CSV file; None if it is not one of BirdNET-Analyzer."""
    return next((names for names in CSV_COLUMNS if file.has_columns(names["t_min"], names["t_max"])), None)
