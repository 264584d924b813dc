"""Boxes of a data set and of an import."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.annotations.boxes import BAND, TIMES, AnnotationError
from features.annotations.merging.tables import FP, TP, appended, read_or_empty, rows
from features.data.audio import MP3_TOLERANCE, AudioError, stated_size
from features.data.dataset import BOX_COLUMNS
from features.data.tables import column_as_numbers

BOX_TABLES = {"yes": TP, "no": FP}
UNKNOWN_SONGTYPE = "1"
DETECTED = {"t_min": 3, "t_max": 3, "f_min": 1, "f_max": 1}
"""Decimals of the numbers in detections.csv."""


def existing_boxes(root: Path) -> pd.DataFrame:
    """Return the boxes of a data set, with the columns of new boxes."""
    parts = []
    for verified, name in BOX_TABLES.items():
        table = read_or_empty(root / name, BOX_COLUMNS)
        boxes = table[["recording_id"]].assign(file=str(root / name), line=table.index, verified=verified)
        for column in BOX_COLUMNS[1:]:
            boxes[column] = column_as_numbers(table, column, root / name)
        parts.append(boxes)
    return pd.concat(parts, ignore_index=True)


def validate_begin(boxes: pd.DataFrame, recordings: Mapping[str, Path]) -> None:
    """Raise AnnotationError if a box begins after the end of its recording.

    Recordings whose header cannot be read are not checked; training reports them.
    """
    durations = {key: _duration(recordings[key]) for key in boxes["recording_id"].unique()}
    after = boxes[boxes["t_min"] >= boxes["recording_id"].map(durations).astype(float)]
    for box in rows(after):
        raise AnnotationError(
            f"{box.file} line {box.line}: t_min {box.t_min:g} is past the end of '{box.recording_id}' "
            f"({durations[box.recording_id]:g} s); correct the times or the name of the recording"
        )


def unique_boxes(boxes: pd.DataFrame, existing: pd.DataFrame) -> pd.Series:
    """Return a bool for each box: whether no other box of the data set or of the import is identical.

    Boxes are identical if they have the same recording, species, song type, times and band, rounded to 1 ms
    and 1 Hz. A box without frequencies is identical to a box of any band.

    Parameters
    ----------
    boxes : pd.DataFrame
        New boxes, with the columns recording_id, species_id, songtype_id, the box, verified, file and line.
    existing : pd.DataFrame
        Boxes of the data set, with the same columns.

    Raises
    ------
    AnnotationError
        A box is confirmed, and an identical one is rejected.
    """
    known: dict[tuple, list] = {}
    unique = pd.Series(False, boxes.index)
    with_band_first = boxes.loc[boxes["f_min"].isna().sort_values(kind="stable").index]
    for is_new, table in ((False, existing), (True, with_band_first)):
        # Rounded to the decimals of detections.csv first, so that a box and its detection give the same.
        rounded = table[list(DETECTED)].round(DETECTED).round({"f_min": 0, "f_max": 0})
        for box, (*times, f_min, f_max) in zip(rows(table), rounded.to_numpy(), strict=True):
            band = f_min, f_max
            others = known.setdefault((box.recording_id, box.species_id, *times), [])
            if is_new:
                same = [other for other, its_band in others if np.isnan(box.f_min) or its_band == band]
                for other in same:
                    _validate_verdicts(box, other)
                unique[box.Index] = box.songtype_id not in {other.songtype_id for other in same}
            others.append((box, band))
    return unique


def with_bands(boxes: pd.DataFrame, existing: pd.DataFrame, recordings: Mapping[str, Path]) -> pd.DataFrame:
    """Return boxes in which unknown frequencies are replaced.

    The band of a species is the median of its TP boxes with known frequencies, of the import and of the data
    set. Without such a box, it is the full range of the recording.

    Parameters
    ----------
    boxes, existing : pd.DataFrame
        New boxes and those of the data set, as in `unique_boxes`.
    recordings : mapping of str to Path
        Audio file of each recording id.

    Raises
    ------
    AudioError
        The full range is needed, but the recording cannot be opened.
    """
    confirmed = pd.concat([existing, boxes])
    confirmed = confirmed[(confirmed["verified"] == "yes") & confirmed["f_min"].notna()]
    bands = confirmed.groupby("species_id")[list(BAND)].median()
    boxes = boxes.copy()
    for box in rows(boxes[boxes["f_min"].isna()]):
        band = (
            bands.loc[box.species_id].tolist()
            if box.species_id in bands.index
            else [0.0, stated_size(recordings[box.recording_id])[0] / 2]
        )
        boxes.loc[box.Index, list(BAND)] = band
    return boxes


def table_of_boxes(root: Path, name: str, boxes: pd.DataFrame) -> pd.DataFrame | None:
    """Return train_tp.csv or train_fp.csv with new boxes; a new data set has both, even if one is empty."""
    if boxes.empty and ((root / name).exists() or (root / TP).exists()):
        return None
    new = boxes[["recording_id"]].assign(songtype_id=boxes["songtype"].replace("", UNKNOWN_SONGTYPE))
    new["species_id"] = boxes["species_id"].astype(str)
    for column in (*TIMES, *BAND):
        new[column] = boxes[column].map(lambda value: repr(float(value)))
    return appended(read_or_empty(root / name, BOX_COLUMNS), new)


def _validate_verdicts(box: Any, other: Any) -> None:
    """Raise AnnotationError if two identical boxes have different verdicts."""
    if box.verified == other.verified:
        return
    verdict = {"yes": "confirmed", "no": "rejected"}
    raise AnnotationError(
        f"{box.file} line {box.line}: box of '{box.species}' in '{box.recording_id}' ({box.t_min:g} to "
        f"{box.t_max:g} s) is {verdict[box.verified]}, but {verdict[other.verified]} in {other.file} line "
        f"{other.line}; correct one of the two"
    )


def _duration(path: Path) -> float:
    """Return the highest duration that a recording can have by its header, s; infinity if it is unknown."""
    try:
        _, duration = stated_size(path)
    except AudioError:
        return np.inf
    return duration / (1 - MP3_TOLERANCE) if path.suffix.lower() == ".mp3" else duration
