"""Recordings in which only single windows were verified."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from features.data.tables import column_as_numbers, read_table

KEY = ["recording_id", "species", "t_min", "t_max"]


def reviewed_recordings(file: Path, boxes: pd.DataFrame, species: Sequence[str]) -> frozenset[str]:
    """Return the ids of the recordings whose boxes are all verdicts of `review.py`; none without the file.

    Nobody has listened to the rest of these recordings, so it may contain any species.

    Parameters
    ----------
    file : Path
        reviews.csv of the data set.
    boxes : pd.DataFrame
        TP and FP boxes, with the columns of `features.data.dataset.BOX_COLUMNS`.
    species : sequence of str
        Names of the species.

    Raises
    ------
    DatasetError
        The table is not valid.
    """
    if not file.exists():
        return frozenset()
    table = read_table(file, tuple(KEY))
    verified = table.assign(**{name: column_as_numbers(table, name, file).round(3) for name in KEY[2:]})
    boxes = boxes.assign(
        species=boxes["species_id"].map(dict(enumerate(species))),
        **{name: boxes[name].round(3) for name in KEY[2:]},
    )
    known = pd.MultiIndex.from_frame(boxes[KEY]).isin(pd.MultiIndex.from_frame(verified[KEY]))
    return frozenset(boxes["recording_id"]) - frozenset(boxes["recording_id"][~known])
