"""Raven selection tables, as tab-separated or comma-separated text."""

from decimal import Decimal
from pathlib import Path

import pandas as pd

from features.annotations.boxes import (
    BAND,
    TIMES,
    AnnotationError,
    as_numbers,
    box_table,
    find_column,
    required_column,
    without_half_bands,
)
from features.annotations.label_file import LabelFile
from features.common.files import replacing

BOX = {
    "t_min": "Begin Time (s)",
    "t_max": "End Time (s)",
    "f_min": "Low Freq (Hz)",
    "f_max": "High Freq (Hz)",
}
EXTRA = {"species": "Species", "verified": "Verified", "songtype": "Songtype", "score": "Score"}
LABEL_COLUMNS = ("Species", "Annotation", "Label", "Code", "Common Name")
AUDIO_COLUMNS = ("Begin Path", "Begin File")
RAVEN_ONLY = ("Selection", "View", *AUDIO_COLUMNS)
OFFSET = "File Offset (s)"


def write_raven(file: Path, boxes: pd.DataFrame) -> None:
    """Write boxes as a Raven Pro selection table.

    Parameters
    ----------
    file : Path
    boxes : pd.DataFrame
        Boxes with the columns species, t_min, t_max, f_min, f_max and optionally songtype, score, verified.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.Table.1.selections.txt"
    >>> box = {"species": "owl", "t_min": 0.5, "t_max": 2.0, "f_min": 500.0, "f_max": 900.0}
    >>> write_raven(file, pd.DataFrame([box]))
    >>> file.read_text().splitlines()[1]
    '1\\tSpectrogram 1\\t1\\t0.5\\t2.0\\t500.0\\t900.0\\towl'
    """
    table = pd.DataFrame(
        {"Selection": range(1, len(boxes) + 1), "View": "Spectrogram 1", "Channel": 1},
        index=boxes.index,
    )
    for name, raven in (BOX | EXTRA).items():
        if name in boxes:
            table[raven] = boxes[name]
    with replacing(file) as temporary:
        table.to_csv(temporary, index=False, sep="\t")


def is_raven(file: LabelFile) -> bool:
    """Return whether a file is a selection table: it has two columns that other programs do not write."""
    if file.has_columns(BOX["t_min"]):
        return any(file.has_columns(name) for name in RAVEN_ONLY)
    return file.has_columns("Selection", "View")


def read_raven(file: LabelFile, label_column: str | None = None) -> pd.DataFrame:
    """Return the boxes of a Raven selection table.

    Raven lists a selection once per view and channel; it counts once. A selection that is only in waveform
    views has no frequencies, unless its row states a band that begins above 0 Hz.

    Raven can open several audio files as one sequence. Begin Time and End Time then count from the start of
    the sequence, and File Offset from the start of the file in which the selection begins.

    Parameters
    ----------
    file : LabelFile
    label_column : str, optional
        Column of the species; the default is the first of `LABEL_COLUMNS` that the table has.

    Raises
    ------
    AnnotationError
        A column is missing, a value is not valid, or the table has selections of several audio files but no
        column File Offset.
    """
    table = file.table
    labels = (label_column,) if label_column else LABEL_COLUMNS
    columns = {
        "species": required_column(table, labels, file.path),
        "recording": find_column(table, AUDIO_COLUMNS),
        **{name: required_column(table, (BOX[name],), file.path) for name in TIMES},
        **{name: find_column(table, (BOX[name],)) for name in BAND},
    }
    boxes = without_half_bands(box_table(table, columns, file.path))
    offset = find_column(table, (OFFSET,))
    if offset is not None:
        boxes["t_min"] = as_numbers(table[[offset]], file.path)[offset]
        complete = boxes[list(TIMES)].notna().all(axis=1)
        times = table.loc[complete, [offset, str(columns["t_max"]), str(columns["t_min"])]]
        boxes["t_max"] = pd.Series([_end_in_file(*texts) for texts in times.to_numpy()], times.index, float)
    elif (n_files := len(set(boxes["recording"]))) > 1:
        raise AnnotationError(
            f"{file.path}: selections of {n_files} audio files, but no column '{OFFSET}', so that the times "
            f"in the files are unknown; add the column in Raven and save the table again"
        )
    return _one_per_selection(boxes, table)


def _end_in_file(offset: str, end: str, begin: str) -> float:
    """Return the end of a selection in its file, s, from File Offset, End Time and Begin Time."""
    # Cumulative times have many digits, and a difference of floats would not be exactly the time in the file.
    start, stop, first = (Decimal(text.replace(",", ".")) for text in (offset, end, begin))
    return float(start + stop - first)


def _one_per_selection(boxes: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the boxes with one row per selection, that of a spectrogram view if there is one."""
    view = find_column(table, ("View",))
    if view is not None:
        in_spectrogram = table[view].str.lower().str.startswith("spectrogram")
        boxes[list(BAND)] = boxes[list(BAND)].where(in_spectrogram | (boxes["f_min"] > 0))
        boxes = boxes.loc[(~in_spectrogram).sort_values(kind="stable").index]
    selection = find_column(table, ("Selection",))
    if selection is not None:
        keys = boxes[["recording", "species", *TIMES, "verified"]].assign(selection=table[selection])
        boxes = boxes[~keys.duplicated()]
    return boxes.sort_index()
