"""Write the boxes of many recordings as one Raven Pro selection table.

Raven Pro can open many sound files as one file sequence, and one selection table for all of them. "Begin
Time (s)" and "End Time (s)" then count from the start of the sequence, "File Offset (s)" from the start of
the sound file that contains the selection. If such a table is opened as a selection table, Raven uses the
times in the sequence: the sound files must already be open, in the order of the table. If it is opened as a
sound selection table, Raven opens the sound files itself, and uses "Begin Path" and "File Offset (s)".
"""

import csv
from collections.abc import Hashable, Iterable, Mapping, Sequence
from decimal import Context, Decimal, localcontext
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from features.annotations.raven import BOX
from features.common.files import replacing
from features.common.table_writer import each_row

COLUMNS = (
    *("Selection", "View", "Channel", *BOX.values()),
    *("Begin File", "Begin Path", "File Offset (s)", "Species"),
)
EXTRA = {"score": "Score", "threshold": "Threshold", "verified": "Verified", "songtype": "Songtype"}


def write_raven_sequence(file: Path, recordings: Iterable[tuple[Path, float, pd.DataFrame]]) -> None:
    """Write one Raven Pro selection table for many recordings.

    Only one recording is in memory at a time. Numbers are not rounded: in decimal arithmetic, "File Offset
    (s)" + "End Time (s)" - "Begin Time (s)" is exactly the end of a box.

    Parameters
    ----------
    file : Path
        The table to write. It is replaced if all recordings have been written without an error.
    recordings : iterable of (Path, float, pd.DataFrame)
        Audio file, duration in s, and boxes of each recording, in the order of the sequence. Recordings
        without boxes are part of the sequence. The boxes have the columns species (name), t_min and t_max in
        s from the start of the recording, f_min and f_max in Hz, and optionally score, threshold, verified
        and songtype. The table always has a column "Verified", which a reviewer can fill in.

    Raises
    ------
    ValueError
        The boxes of two recordings have different columns.
    UserError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "all.selections.txt"
    >>> owl = pd.DataFrame([{"species": "owl", "t_min": 0.5, "t_max": 2.0, "f_min": 500.0, "f_max": 900.0}])
    >>> write_raven_sequence(file, [(Path("a.wav"), 60.0, owl), (Path("b.wav"), 60.0, owl)])
    >>> pd.read_csv(file, sep="\\t")[["Begin Time (s)", "End Time (s)", "Begin File", "File Offset (s)"]]
       Begin Time (s)  End Time (s) Begin File  File Offset (s)
    0             0.5           2.0      a.wav              0.5
    1            60.5          62.0      b.wav              0.5
    """
    number, start = count(1), Decimal(0)
    columns: set[Any] | None = None
    with (
        localcontext(Context(prec=60)),  # more digits than a sum of durations has
        replacing(file) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as opened,
    ):
        writer = csv.writer(opened, delimiter="\t", lineterminator="\n")
        for path, duration, boxes in recordings:
            if columns is None:
                columns = set(boxes)
                extra = [name for name in EXTRA if name in columns or name == "verified"]
                writer.writerow([*COLUMNS, *(EXTRA[name] for name in extra)])
            if columns != set(boxes):
                raise ValueError(f"{path}: columns {list(boxes)} differ from those before: {columns}")
            absolute = path.absolute()
            for row in each_row(boxes):
                box = dict(zip(boxes, row, strict=True))
                writer.writerow(_selection(box, absolute, number=next(number), start=start, extra=extra))
            start += _decimal(duration)


def _selection(
    box: Mapping[Hashable, Any], path: Path, *, number: int, start: Decimal, extra: Sequence[str]
) -> list[Any]:
    """Return the row of a box.

    Parameters
    ----------
    path : absolute path of the audio file.
    number : number of the selection.
    start : start of the recording in the sequence, s.
    extra : names of the last columns of the row.
    """
    begin, end = (f"{start + _decimal(box[name]):f}" for name in ("t_min", "t_max"))
    times = [number, "Spectrogram 1", 1, begin, end, box["f_min"], box["f_max"]]
    audio = [path.name, path, box["t_min"], box["species"]]
    values = [box.get(name, "") for name in extra]
    return [*times, *audio, *("" if value != value else value for value in values)]  # no score: nan


def _decimal(seconds: float) -> Decimal:
    """Return the decimal number that Python prints for a float."""
    return Decimal(repr(float(seconds)))
