"""Audacity label tracks.

Each label is a line "start<TAB>end<TAB>text". If it was drawn in the spectrogram view, a line
"\\<TAB>low<TAB>high" with its frequencies follows. BirdNET-Analyzer writes "scientific name, common name" as
the text and the confidence as a fourth field. The species is then the common name, as in its other files.

The text of a label is the species, followed by the parts that apply of "songtype N", "score P" and
"confirmed" or "rejected", separated by " | ". A label with a score and without a verdict was not reviewed.
"""

import re
from pathlib import Path

import pandas as pd

from features.annotations.boxes import (
    BAND,
    TIMES,
    AnnotationError,
    box_table,
    without_half_bands,
)
from features.annotations.label_file import LabelFile
from features.common.files import replacing

NUMBER = r"-?\d+([.,]\d+)?(e-?\d+)?"
TRACK = re.compile(rf"\s*({NUMBER}\t{NUMBER}(\t|\n|$)|$)")
LABEL = re.compile(
    r"(?P<species>.*?)(?: \| songtype (?P<songtype>\S+))?(?: \| score (?P<score>\S+))?"
    r"(?: \| (?P<verdict>confirmed|rejected))?"
)
FREQUENCIES = "\\"  # first field of a line of frequencies


def write_audacity(file: Path, boxes: pd.DataFrame) -> None:
    """Write boxes as an Audacity label track with frequencies.

    Parameters
    ----------
    file : Path
    boxes : pd.DataFrame
        Boxes with the columns species, t_min, t_max, f_min, f_max and optionally songtype, score, verified.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> box = {"species": "owl", "t_min": 0.5, "t_max": 2.0, "f_min": 500.0, "f_max": 900.0, "score": 0.75}
    >>> write_audacity(file, pd.DataFrame([box]))
    >>> file.read_text()
    '0.5\\t2.0\\towl | score 0.75\\n\\\\\\t500.0\\t900.0\\n'
    """
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        for box in boxes.to_dict("records"):
            label = " ".join(str(box["species"]).split())  # tabs and line breaks are separators
            for name in ("songtype", "score"):
                if name in box:
                    label += f" | {name} {box[name]}"
            verified = box.get("verified", "")
            if verified == "no":
                label += " | rejected"
            elif verified == "yes" and "score" in box:
                label += " | confirmed"
            opened.write(f"{box['t_min']!r}\t{box['t_max']!r}\t{label}\n")
            opened.write(f"{FREQUENCIES}\t{box['f_min']!r}\t{box['f_max']!r}\n")


def is_audacity(file: LabelFile) -> bool:
    """Return whether a file is a label track: its first line begins with two numbers, or it is empty."""
    return TRACK.match(file.text) is not None


def read_audacity(file: LabelFile) -> pd.DataFrame:
    """Return the boxes of an Audacity label track.

    Raises
    ------
    AnnotationError
        A line is not a label, a line of frequencies follows no label, or a value is not valid.
    """
    rows: dict[int, dict[str, str]] = {}
    label: dict[str, str] = dict.fromkeys(BAND, "")  # before the first label, no line of frequencies is valid
    for number, line in enumerate(file.text.split("\n"), start=1):
        fields = line.split("\t")
        if not line.strip():
            continue
        if fields[0].strip() == FREQUENCIES and len(fields) == 3 and "f_min" not in label:
            label |= dict(zip(BAND, fields[1:], strict=True))
        elif len(fields) in (2, 3, 4) and fields[0].strip() != FREQUENCIES:
            rows[number] = label = _label(*fields)
        else:
            raise AnnotationError(
                f"{file.path} line {number}: '{line.strip()}' is neither a label (start, end, text) nor the "
                f"line of frequencies of a label; correct or remove it"
            )
    names = (*TIMES, *BAND, "species", "songtype", "score", "verdict")
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=names, dtype=object).fillna("")
    boxes = box_table(table, {name: name for name in names[:-1]} | {"verified": None}, file.path)
    stated = table["verdict"].map({"confirmed": "yes", "rejected": "no"}).astype(object)
    boxes["verified"] = stated.fillna(boxes["verified"])
    boxes[list(BAND)] = boxes[list(BAND)].mask(boxes[list(BAND)] < 0)  # Audacity writes -1 for no limit
    return without_half_bands(boxes)


def _label(start: str, end: str, text: str = "", confidence: str = "") -> dict[str, str]:
    """Return the values of a label by name."""
    parts = LABEL.fullmatch(text.strip())
    assert parts is not None  # the pattern matches any text
    stated = {name: value for name, value in parts.groupdict().items() if value is not None}
    if confidence:
        stated["species"] = stated["species"].partition(", ")[2] or stated["species"]
    return {"t_min": start, "t_max": end, "score": confidence} | stated
