"""Tables of recording, start, end and label, as spreadsheets and `predict` write them.

The columns are found by common names, in any case and with spaces, hyphens or underscores. A unit can follow
the name: "Start (s)", "low_freq_hz", "High Freq [kHz]". `detections.csv` of `predict` is such a table.
"""

import re

import pandas as pd

from features.annotations.boxes import (
    BAND,
    TIMES,
    AnnotationError,
    box_table,
    required_column,
    without_half_bands,
)
from features.annotations.label_file import LabelFile
from features.common.formulas import unescape_formulas

NAMES = {
    "recording": (
        *("recording_id", "recording", "filepath", "file_path", "path", "file", "filename", "file_name"),
        *("audio_file", "sound_file", "audio"),
    ),
    "species": (
        *("species", "annotation", "label", "code", "common_name", "species_name", "scientific_name"),
        *("class", "tag"),
    ),
    "t_min": ("t_min", "start", "begin", "onset", "start_time", "begin_time"),
    "t_max": ("t_max", "end", "stop", "offset", "end_time", "stop_time"),
    "f_min": ("f_min", "fmin", "low", "low_freq", "low_frequency", "min_freq", "min_frequency", "freq_min"),
    "f_max": (
        "f_max",
        "fmax",
        "high",
        "high_freq",
        "high_frequency",
        "max_freq",
        "max_frequency",
        "freq_max",
    ),
}
UNIT = re.compile(r"(.+?)\s*[_(\[]\s*(s|sec|seconds|ms|hz|khz)\s*[)\]]?", re.IGNORECASE)
SCALES = {"s": 1, "sec": 1, "seconds": 1, "ms": 0.001, "hz": 1, "khz": 1000}


def is_spreadsheet(file: LabelFile) -> bool:
    """Return whether a file has columns for start and end."""
    return all(_find(file.header, name) is not None for name in TIMES)


def read_spreadsheet(file: LabelFile, label_column: str | None = None) -> pd.DataFrame:
    """Return the boxes of a table of recording, start, end and label.

    Parameters
    ----------
    file : LabelFile
    label_column : str, optional
        Column of the species; the default is the first in `NAMES` that the table has.

    Raises
    ------
    AnnotationError
        The table has no column for the species, or a value is not valid.
    """
    table = unescape_formulas(file.table)
    columns = {name: _find(list(table.columns), name) for name in NAMES}
    if label_column is not None:
        columns["species"] = required_column(table, (label_column,), file.path)
    if columns["species"] is None:
        raise AnnotationError(
            f"{file.path}: no column for the species (found: {', '.join(table.columns)}); name it "
            f"'species' or 'label', or give --label-column"
        )
    boxes = without_half_bands(box_table(table, columns, file.path))
    for name in (*TIMES, *BAND):
        boxes[name] *= _name_and_scale(columns[name] or "")[1]
    return boxes


def _find(header: list[str], name: str) -> str | None:
    """Return the column of a header that has the first of the `NAMES` of a value."""
    found = {_name_and_scale(column)[0]: column for column in reversed(header)}
    return next((found[synonym] for synonym in NAMES[name] if synonym in found), None)


def _name_and_scale(column: str) -> tuple[str, float]:
    """Return the name of a column without unit, in the form of `NAMES`, and the unit in seconds or Hz."""
    match = UNIT.fullmatch(column.strip())
    name, unit = match.groups() if match else (column, "s")
    return re.sub(r"[\s_.-]+", "_", name.strip().lower()).strip("_"), SCALES[unit.lower()]
