"""Recordings whose boxes are all verdicts are told apart from annotated ones."""

from pathlib import Path

import pandas as pd
import pytest

from features.data.dataset import load_dataset
from features.data.tables import DatasetError
from tests.conftest import write_small_dataset


def write_reviews(root: Path, rows: list[tuple[str, str, float | str, float]]) -> None:
    columns = ["recording_id", "species", "t_min", "t_max"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "reviews.csv", index=False)


def test_recordings_with_another_box_are_annotated(small_dataset: Path) -> None:
    # Each recording has a TP box from 0.2 s to 1.1 s and an FP box of the next species from 0.5 s to 1.5 s.
    assert load_dataset(small_dataset).reviewed == frozenset()
    rows = [("a0", "coqui", 0.2, 1.1), ("a0", "owl", 0.5, 1.5), ("a1", "owl", 0.2, 1.1)]
    rows += [("a2", "coqui", 0.2, 1.1), ("a2", "coqui", 0.5, 1.5)]  # a2 has boxes of frog and coqui
    write_reviews(small_dataset, rows)  # type: ignore[arg-type]
    assert load_dataset(small_dataset).reviewed == {"a0"}


def test_damaged_reviews_are_refused(tmp_path: Path) -> None:
    root = write_small_dataset(tmp_path / "small")
    write_reviews(root, [("a0", "coqui", "soon", 1.1)])
    with pytest.raises(DatasetError, match=r"reviews.csv line 2.*soon"):
        load_dataset(root)
