"""Examples: highest scores of present and absent species, and lowest scores of present ones."""

from pathlib import Path

import numpy as np
import pytest

from features.data.dataset import load_dataset
from features.frames.store import FrameStore
from pipelines.core.detector import Detector
from pipelines.core.member import ColumnScorer
from pipelines.reporting.examples import Example, ScoredSplit, find_examples

P = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.3]])
Y = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def found(trained: tuple[Path, Path]) -> dict[str, list[Example]]:
    data, results = trained
    detector = Detector.load(results / "gbm")
    store = FrameStore(results / "frames", detector.settings)
    split = ScoredSplit("test", list(load_dataset(data).test), store, P, Y)
    scorer = detector.members[0].scorer
    assert isinstance(scorer, ColumnScorer)
    return find_examples(detector, scorer, split)


def test_examples_are_the_most_certain_of_each_species(found: dict[str, list[Example]]) -> None:
    titles = {heading: [example.title for example in shown] for heading, shown in found.items()}
    assert titles == {
        "Most certain and right": [
            "coqui in t0: 0.90, right",
            "owl in t1: 0.20, right",
            "frog in t0: 0.10, right",
        ],
        "Most certain and wrong": ["owl in t0: 0.80, wrong", "frog in t1: 0.30, wrong"],
        "Missed": ["frog in t0: 0.10, missed", "owl in t1: 0.20, missed", "coqui in t1: 0.70, missed"],
    }


def test_excerpt_contains_the_window(found: dict[str, list[Example]]) -> None:
    for example in (example for shown in found.values() for example in shown):
        seconds = len(example.frames) / 50
        assert example.start >= 0
        assert example.start + example.length <= seconds + 0.02
        assert example.band == (500.0, 3000.0)
        assert len(example.decisive) == 3
        assert example.decisive[0].value >= example.decisive[2].value
