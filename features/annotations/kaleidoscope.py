"""Tables of Kaleidoscope Pro: id.csv, cluster.csv and meta.csv.

MANUAL ID is the label of a reviewer. TOP1MATCH or AUTO ID is the label of the software, not reviewed.
"""

import numpy as np
import pandas as pd

from features.annotations.boxes import (
    BAND,
    VERDICT,
    AnnotationError,
    as_numbers,
    box_table,
    find_column,
    required_column,
    review_column,
    without_half_bands,
)
from features.annotations.label_file import LabelFile

FOLDERS = ("INDIR", "FOLDER")
AUDIO = "IN FILE"
BEGIN, LENGTH = "OFFSET", "DURATION"
MANUAL = ("MANUAL ID", "MANUAL ID*")
AUTOMATIC = ("TOP1MATCH", "AUTO ID", "AUTO ID*")
UNITS = {"Hz": 1, "kHz": 1000}
ZERO_CROSSING = "Fc"  # a measure of bat calls, which are in kHz
MAX_KHZ = 250  # upper limit of recorders


def is_kaleidoscope(file: LabelFile) -> bool:
    """Return whether a file is a table of Kaleidoscope."""
    return file.has_columns(AUDIO, BEGIN, LENGTH)


def read_kaleidoscope(file: LabelFile) -> pd.DataFrame:
    """Return the boxes of a table of Kaleidoscope.

    Raises
    ------
    AnnotationError
        A column is missing, a value is not valid, or the unit of the frequencies is unknown.
    """
    table = file.table
    manual, automatic = find_column(table, MANUAL), find_column(table, AUTOMATIC)
    species = automatic or required_column(table, MANUAL[:1] + AUTOMATIC, file.path)
    boxes = boxes_by_length(file, species)
    if review_column(table, VERDICT, file.path) is None:
        boxes["verified"] = ""
    if manual is not None:
        reviewed = table[manual] != ""
        boxes["species"] = boxes["species"].mask(reviewed, table[manual])
        boxes["verified"] = boxes["verified"].mask(reviewed, "yes")
    boxes[list(BAND)] = _band(table, file)
    return without_half_bands(boxes)


def boxes_by_length(file: LabelFile, species: str) -> pd.DataFrame:
    """Return the boxes, without frequencies, of a table with the columns IN FILE, OFFSET and DURATION.

    Parameters
    ----------
    file : LabelFile
    species : str
        Column of the species.
    """
    table = file.table
    names = {name: required_column(table, (name,), file.path) for name in (AUDIO, BEGIN, LENGTH)}
    boxes = box_table(table, {"species": species, "t_min": names[BEGIN], "t_max": names[LENGTH]}, file.path)
    boxes["t_max"] += boxes["t_min"]
    folders = [column for name in FOLDERS if (column := find_column(table, (name,))) is not None]
    paths = table[[*folders, names[AUDIO]]].to_numpy()
    boxes["recording"] = ["/".join(part for part in parts if part) for parts in paths]
    return boxes


def _band(table: pd.DataFrame, file: LabelFile) -> np.ndarray:
    """Return the lowest and highest frequency of each row in Hz, shape (n_rows, 2)."""
    names = [[name, *(f"{name} ({unit})" for unit in UNITS)] for name in ("Fmin", "Fmax")]
    columns = [column for accepted in names if (column := find_column(table, accepted)) is not None]
    if len(columns) < 2:
        return np.full((len(table), 2), np.nan)
    band = as_numbers(table[columns], file.path).to_numpy()
    band = np.where((band > 0).all(axis=1, keepdims=True), band, np.nan)  # 0 means not measured
    highest = np.nan_to_num(band).max(initial=0)
    stated = [scale for unit, scale in UNITS.items() if all(name.endswith(f"({unit})") for name in columns)]
    if stated:
        return band * stated[0]
    if highest > MAX_KHZ or highest == 0:
        return band
    if file.has_columns(ZERO_CROSSING):
        return band * UNITS["kHz"]
    raise AnnotationError(
        f"{file.path}: no {columns[1]} is above {highest:g}, which can be Hz or kHz; rename the columns to "
        f"'Fmin (Hz)' and 'Fmax (Hz)', or to 'Fmin (kHz)' and 'Fmax (kHz)'"
    )
