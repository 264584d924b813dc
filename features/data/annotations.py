"""Read and write boxes as Raven Pro selection tables and Audacity label tracks.

A table of boxes has the columns species (name), t_min and t_max in seconds, f_min and f_max in Hz, and
optionally verified ("yes" or "no"), songtype and score.
"""

import csv
import re
from pathlib import Path

import pandas as pd

from features.common.errors import UserError
from features.common.files import replacing, validate_inside_folder
from features.data.tables import finite_numbers

BOX = ("t_min", "t_max", "f_min", "f_max")
RAVEN_BOX = ("Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
RAVEN_EXTRA = {"species": "Species", "verified": "Verified", "songtype": "Songtype", "score": "Score"}
YES = ("", "yes", "y", "true", "1", "tp", "verified", "positive")
NO = ("no", "n", "false", "0", "fp", "rejected", "negative")
AUDACITY_LABEL = re.compile(r"(?P<species>.*?)(?: \| songtype (?P<songtype>\S+))?(?P<rejected> \| rejected)?")


class AnnotationError(UserError):
    """The error for a box file that is unreadable or contains invalid boxes."""


def write_raven(file: Path, boxes: pd.DataFrame) -> None:
    """Write boxes as a Raven Pro selection table.

    Parameters
    ----------
    file : Path
    boxes : pd.DataFrame
        Boxes with the columns described in `features.data.annotations`.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.Table.1.selections.txt"
    >>> box = {"species": "owl", "t_min": 0.5, "t_max": 2.0, "f_min": 500.0, "f_max": 900.0}
    >>> write_raven(file, pd.DataFrame([box]))
    >>> read_raven(file)
      species  t_min  t_max  f_min  f_max
    0     owl    0.5    2.0  500.0  900.0
    """
    table = pd.DataFrame(
        {"Selection": range(1, len(boxes) + 1), "View": "Spectrogram 1", "Channel": 1},
        index=boxes.index,
    )
    for name, raven in zip(BOX, RAVEN_BOX, strict=True):
        table[raven] = boxes[name]
    for name, raven in RAVEN_EXTRA.items():
        if name in boxes:
            table[raven] = boxes[name]
    with replacing(file) as temporary:
        table.to_csv(temporary, index=False, sep="\t")


def read_raven(file: Path) -> pd.DataFrame:
    """Return the boxes of a Raven selection table.

    If the table has a column "Begin File", the column "recording_id" of the boxes is the stem of the audio
    file that is named there. If it also has a column "File Offset (s)", times count from the start of that
    audio file. Raven can list a selection once per view; only the row of the spectrogram view is read.

    Raises
    ------
    AnnotationError
        The file is not a selection table, a column is missing, or a value is not valid.
    UserError
        The file is a symbolic link that points outside its folder.
    """
    validate_inside_folder(file, file.parent)
    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"{file}: not a selection table ({error}); export it from Raven again"
        ) from error
    table.columns = table.columns.str.strip()
    for column in (*RAVEN_BOX, RAVEN_EXTRA["species"]):
        if column not in table:
            raise AnnotationError(
                f"{file}: missing column '{column}' (found: {', '.join(table.columns)}); add it in Raven"
            )
    if "View" in table:
        table = table[table["View"].str.startswith("Spectrogram")]
    boxes = pd.DataFrame({"species": table[RAVEN_EXTRA["species"]].str.strip()})
    for name, raven in zip(BOX, RAVEN_BOX, strict=True):
        boxes[name] = _numbers(table[raven], raven, file)
    if "Begin File" in table:
        boxes["recording_id"] = table["Begin File"].map(lambda name: Path(name).stem)
        if "File Offset (s)" in table:
            # Raven can open several audio files as one sequence. Begin Time and End Time then count from the
            # start of the sequence, File Offset from the start of the file that contains the selection.
            offset = _numbers(table["File Offset (s)"], "File Offset (s)", file)
            boxes["t_max"] += offset - boxes["t_min"]
            boxes["t_min"] = offset
    for name in ("verified", "songtype"):
        if RAVEN_EXTRA[name] in table:
            boxes[name] = table[RAVEN_EXTRA[name]].str.strip()
    _validate(boxes, file)
    return boxes


def write_audacity(file: Path, boxes: pd.DataFrame) -> None:
    """Write boxes as an Audacity label track with frequencies.

    Parameters
    ----------
    file : Path
    boxes : pd.DataFrame
        Boxes with the columns described in `features.data.annotations`. The label of a box contains its
        species, its song type if there is such a column, and "rejected" if `verified` is "no".

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> box = {"species": "owl", "t_min": 0.5, "t_max": 2.0, "f_min": 500.0, "f_max": 900.0}
    >>> write_audacity(file, pd.DataFrame([box]))
    >>> file.read_text()
    '0.5\\t2.0\\towl\\n\\\\\\t500.0\\t900.0\\n'
    """
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        for box in boxes.to_dict("records"):
            label = " ".join(str(box["species"]).split())  # tabs and line breaks are separators
            if "songtype" in box:
                label += f" | songtype {box['songtype']}"
            if box.get("verified", "yes") == "no":
                label += " | rejected"
            opened.write(f"{box['t_min']!r}\t{box['t_max']!r}\t{label}\n")
            opened.write(f"\\\t{box['f_min']!r}\t{box['f_max']!r}\n")


def read_audacity(file: Path) -> pd.DataFrame:
    """Return the boxes of an Audacity label track.

    Raises
    ------
    AnnotationError
        The file is not a label track, a label has no line of frequencies, or a value is not valid.
    UserError
        The file is a symbolic link that points outside its folder.
    """
    validate_inside_folder(file, file.parent)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = [line for line in csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(
            f"{file}: not a label track ({error}); export it from Audacity again"
        ) from error
    rows = []
    for label, frequencies in zip(lines[::2], [*lines[1::2], []], strict=False):
        if len(label) != 3 or len(frequencies) != 3 or frequencies[0] != "\\":
            raise AnnotationError(
                f"{file}: missing line of frequencies after '{' '.join(label)}'; draw labels in the "
                f"spectrogram view"
            )
        text = AUDACITY_LABEL.fullmatch(label[2])
        assert text is not None  # the pattern matches any text
        rows.append(
            {
                "species": text["species"].strip(),
                **dict(zip(BOX, (*label[:2], *frequencies[1:]), strict=True)),
                "verified": "no" if text["rejected"] else "yes",
                "songtype": text["songtype"] or "",
            }
        )
    boxes = pd.DataFrame(rows, columns=["species", *BOX, "verified", "songtype"])
    for name in BOX:
        boxes[name] = _numbers(boxes[name], name, file)
    _validate(boxes, file)
    return boxes


def rejected(boxes: pd.DataFrame) -> pd.Series:
    """Return a bool for each box: whether an expert rejected it."""
    if "verified" not in boxes:
        return pd.Series(False, boxes.index)
    return boxes["verified"].str.lower().isin(NO)


def _validate(boxes: pd.DataFrame, file: Path) -> None:
    """Raise AnnotationError for a box without a species, or with an invalid value in `verified`."""
    for n, box in enumerate(boxes.to_dict("records"), start=1):
        if not box["species"]:
            raise AnnotationError(f"{file}: selection {n} has no species; add it, or remove the selection")
        verified = str(box.get("verified", "")).lower()
        if verified not in YES + NO:
            raise AnnotationError(
                f"{file}: selection {n} has '{verified}' in column verified; write 'yes' for a "
                f"confirmed box and 'no' for a rejected one"
            )


def _numbers(values: pd.Series, name: str, file: Path) -> pd.Series:
    """Return text values as float64; raise AnnotationError if a value is not a finite number."""
    numbers = finite_numbers(values)
    invalid = numbers.isna()
    if invalid.any():
        raise AnnotationError(f"{file}: {name} '{values[invalid].iloc[0]}' is not a number; correct it")
    return numbers
