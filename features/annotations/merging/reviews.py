"""Verdicts of a data set and of a review: where the boxes of `review.py apply` come from."""

from pathlib import Path

import pandas as pd

from features.annotations.merging.tables import REVIEWS, appended, read_or_empty

KEY = ("queue", "item", "verdict")
REVIEW_COLUMNS = (
    *("recording_id", "species", "t_min", "t_max", "f_min", "f_max", "verdict", "reviewed"),
    *("score", "reason", "model", "queue", "item"),
)


def review_table(root: Path, reviews: pd.DataFrame) -> pd.DataFrame | None:
    """Return reviews.csv with new rows; the same verdict on an item of a queue is not added again.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    reviews : pd.DataFrame
        Text, with the columns `REVIEW_COLUMNS`.
    """
    existing = read_or_empty(root / REVIEWS, REVIEW_COLUMNS)
    known = set(existing[list(KEY)].itertuples(index=False, name=None))
    is_new = [key not in known for key in reviews[list(KEY)].itertuples(index=False, name=None)]
    return appended(existing, reviews[is_new]) if any(is_new) else None
