"""Boxes as Raven Pro's selection tables and Audacity's label tracks hold them.

A table of boxes has the columns species (name), t_min and t_max in seconds, f_min and f_max in Hz, and
where it is known verified ("yes" or "no"), songtype and score.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import refuse_link_outside, replacing

BOX = ("t_min", "t_max", "f_min", "f_max")
RAVEN_BOX = ("Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
RAVEN_EXTRA = {"species": "Species", "verified": "Verified", "songtype": "Songtype", "score": "Score"}
YES = ("", "yes", "y", "true", "1", "tp", "verified", "positive")
NO = ("no", "n", "false", "0", "fp", "rejected", "negative")
AUDACITY_LABEL = re.compile(r"(?P<species>.*?)(?: \| songtype (?P<songtype>\S+))?(?P<rejected> \| rejected)?")


class AnnotationError(UserError):
    """A file of boxes that cannot be read."""


def write_raven(file: Path, boxes: pd.DataFrame) -> None:
    """Write a selection table as Raven Pro does."""
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
    """Return the boxes of a selection table, and in "recording_id" the file that each lies in, if it says so.

    A selection that Raven lists in several views counts once, by its spectrogram.

    Raises
    ------
    AnnotationError
        It is no selection table, lacks a column, or has a number that is none.
    """
    refuse_link_outside(file, file.parent)
    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"{file}: is no selection table ({error}); export it from Raven anew"
        ) from error
    table.columns = table.columns.str.strip()
    for column in (*RAVEN_BOX, RAVEN_EXTRA["species"]):
        if column not in table:
            raise AnnotationError(
                f"{file}: lacks column '{column}' (found: {', '.join(table.columns)}); add it in Raven"
            )
    if "View" in table:
        table = table[table["View"].str.startswith("Spectrogram")]
    boxes = pd.DataFrame({"species": table[RAVEN_EXTRA["species"]].str.strip()})
    for name, raven in zip(BOX, RAVEN_BOX, strict=True):
        boxes[name] = _numbers(table[raven], raven, file)
    if "Begin File" in table:
        boxes["recording_id"] = table["Begin File"].map(lambda name: Path(name).stem)
        if "File Offset (s)" in table:  # times count from the first of several files
            offset = _numbers(table["File Offset (s)"], "File Offset (s)", file)
            boxes["t_max"] += offset - boxes["t_min"]
            boxes["t_min"] = offset
    for name in ("verified", "songtype"):
        if RAVEN_EXTRA[name] in table:
            boxes[name] = table[RAVEN_EXTRA[name]].str.strip()
    _check(boxes, file)
    return boxes


def write_audacity(file: Path, boxes: pd.DataFrame) -> None:
    """Write a label track with frequencies, as Audacity exports it."""
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        for box in boxes.to_dict("records"):
            label = " ".join(str(box["species"]).split())  # a tab or a new line would be the track's own
            if "songtype" in box:
                label += f" | songtype {box['songtype']}"
            if box.get("verified", "yes") == "no":
                label += " | rejected"
            opened.write(f"{box['t_min']!r}\t{box['t_max']!r}\t{label}\n")
            opened.write(f"\\\t{box['f_min']!r}\t{box['f_max']!r}\n")


def read_audacity(file: Path) -> pd.DataFrame:
    """Return the boxes of a label track, in which every label has its line of frequencies.

    Raises
    ------
    AnnotationError
        It is no label track, or a label has no frequencies.
    """
    refuse_link_outside(file, file.parent)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = [line for line in csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{file}: is no label track ({error}); export it from Audacity anew") from error
    rows = []
    for label, frequencies in zip(lines[::2], [*lines[1::2], []], strict=False):
        if len(label) != 3 or len(frequencies) != 3 or frequencies[0] != "\\":
            raise AnnotationError(
                f"{file}: after '{' '.join(label)}' comes no line of frequencies; draw labels in the "
                f"spectrogram"
            )
        said = AUDACITY_LABEL.fullmatch(label[2])
        assert said is not None  # it matches any text
        rows.append(
            {
                "species": said["species"].strip(),
                **dict(zip(BOX, (*label[:2], *frequencies[1:]), strict=True)),
                "verified": "no" if said["rejected"] else "yes",
                "songtype": said["songtype"] or "",
            }
        )
    boxes = pd.DataFrame(rows, columns=["species", *BOX, "verified", "songtype"])
    for name in BOX:
        boxes[name] = _numbers(boxes[name], name, file)
    _check(boxes, file)
    return boxes


def rejected(boxes: pd.DataFrame) -> pd.Series:
    """Return which boxes an expert rejected."""
    if "verified" not in boxes:
        return pd.Series(False, boxes.index)
    return boxes["verified"].str.lower().isin(NO)


def _check(boxes: pd.DataFrame, file: Path) -> None:
    """Raise AnnotationError for a box without a species, or with a verdict that is neither yes nor no."""
    for n, box in enumerate(boxes.to_dict("records"), start=1):
        if not box["species"]:
            raise AnnotationError(f"{file}: selection {n} names no species; name it, or remove the selection")
        verdict = str(box.get("verified", "")).lower()
        if verdict not in YES + NO:
            raise AnnotationError(
                f"{file}: selection {n} is verified '{verdict}'; write yes, or no for a rejected one"
            )


def _numbers(values: pd.Series, name: str, file: Path) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        raise AnnotationError(f"{file}: {name} '{values[wrong].iloc[0]}' is not a number; correct it")
    return numbers
