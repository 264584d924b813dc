"""Examples: species reported rightly, reported wrongly, and missed, and the windows that show them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.box import Box
from features.data.dataset import Dataset, load_dataset
from features.data.metadata import SiteTime
from features.frames.frames import Frames
from features.frames.store import FrameStore
from pipelines.core.detections import ScoredWindows
from pipelines.core.detector import Detector
from pipelines.core.member import ColumnScorer
from pipelines.reporting.contents import ScoredSplit
from pipelines.reporting.examples import (
    BOXED,
    NOT_BOXED,
    Example,
    best_window,
    find_examples,
    place_in_words,
)
from pipelines.reporting.explain import decisive_for_window

P = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.3]])
KNOWN = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, np.nan]])
THRESHOLD = np.array([0.8, 0.5, 0.2])


@pytest.fixture(scope="module")
def detector(trained: tuple[Path, Path]) -> Detector:
    return Detector.load(trained[1] / "gbm")


@pytest.fixture(scope="module")
def dataset(trained: tuple[Path, Path]) -> Dataset:
    return load_dataset(trained[0])


@pytest.fixture(scope="module")
def store(trained: tuple[Path, Path], detector: Detector) -> FrameStore:
    return FrameStore(trained[1] / "frames", detector.settings)


@pytest.fixture(scope="module")
def found(detector: Detector, dataset: Dataset, store: FrameStore) -> dict[str, list[Example]]:
    return find_examples(
        detector, scorer_of(detector), ScoredSplit("test", dataset, store, P, KNOWN, THRESHOLD)
    )


def scorer_of(detector: Detector) -> ColumnScorer:
    scorer = detector.members[0].scorer
    assert isinstance(scorer, ColumnScorer)
    return scorer


def missed_in_training(dataset: Dataset, store: FrameStore) -> ScoredSplit:
    """Return training recordings in which only coqui in a0 is missed, with two boxed calls of it there.

    Only the first call is completely in one of the windows, which start at 0, 0.5 and 1 s.
    """
    known = np.full((6, 3), np.nan)
    known[0, 0] = 1
    tp = dataset.tp[dataset.tp["recording_id"] != "a0"]
    calls = [("a0", 0, 1, 1.2, 700.0, 1.9, 900.0), ("a0", 0, 1, 0.4, 500.0, 1.05, 800.0)]
    boxes = pd.concat([tp, pd.DataFrame(calls, columns=tp.columns)], ignore_index=True)
    return ScoredSplit("train", replace(dataset, tp=boxes), store, np.zeros((6, 3)), known, np.ones(3))


def test_examples_are_the_most_certain_of_each_species(found: dict[str, list[Example]]) -> None:
    shown = {
        heading: [(example.title, example.place.split(",")[0]) for example in examples]
        for heading, examples in found.items()
    }
    assert shown == {
        "Most certain and right": [("coqui, score 0.90 (threshold 0.80): right", "Recording t0")],
        "Most certain and wrong": [
            ("owl, score 0.80 (threshold 0.50): wrong", "Recording t0"),
            ("frog, score 0.30 (threshold 0.20): wrong, as far as is known", "Recording t1"),
        ],
        "Missed": [
            ("frog, score 0.10 (threshold 0.20): missed", "Recording t0"),
            ("owl, score 0.20 (threshold 0.50): missed", "Recording t1"),
            ("coqui, score 0.70 (threshold 0.80): missed", "Recording t1"),
        ],
    }


def test_excerpt_contains_the_window_with_the_highest_score(
    found: dict[str, list[Example]], detector: Detector, store: FrameStore
) -> None:
    for example in (example for shown in found.values() for example in shown):
        recording_id = example.place.split(",")[0].removeprefix("Recording ")
        windows = detector.score_frames(store.packed(recording_id, "test")).windows
        best = windows.loc[windows[example.title.split(",")[0]].idxmax()]
        assert example.window == Box(best["start"], best["end"], 500.0, 3000.0)
        assert example.start <= example.window.t_min
        assert example.window.t_max <= example.start + len(example.frames) / 50 + 0.02
        assert len(example.decisive) == 3
        assert example.decisive[0].value >= example.decisive[2].value


def test_only_missed_species_have_a_note_on_where_the_call_is(found: dict[str, list[Example]]) -> None:
    notes = {heading: {example.note for example in shown} for heading, shown in found.items()}
    assert notes == {"Most certain and right": {""}, "Most certain and wrong": {""}, "Missed": {NOT_BOXED}}
    assert [example.calls for example in found["Missed"]] == [
        [],
        [],
        [],
    ]  # there are no boxes of test recordings


def test_missed_call_is_shown_where_its_box_is(
    detector: Detector, dataset: Dataset, store: FrameStore
) -> None:
    split = missed_in_training(dataset, store)
    right, wrong, (example,) = find_examples(detector, None, split).values()
    assert right == wrong == []
    assert example.window == Box(1.0, 2.0, 500.0, 3000.0)
    assert example.calls == [Box(1.2, 1.9, 700.0, 900.0), Box(0.4, 1.05, 500.0, 800.0)]
    assert example.note == BOXED
    assert example.place == "Recording a0, from 1.0 s to 2.0 s of the recording"


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], 1),  # the highest score
        ([(1.9, 2.8)], 2),  # 0.5 s of the call in window 1, 0.8 s in window 2
        ([(2.1, 2.2)], 1),  # in windows 1 and 2; window 1 has the higher score
        ([(1.9, 2.8), (0.2, 0.4)], 0),  # only the second call is completely in a window
        # Half of the first call is in window 0; all of the second is in window 3, which ends at 3.2 s.
        ([(0.5, 1.5), (3.0, 99.0)], 3),
    ],
)
def test_best_window_overlaps_a_call_most(calls: Sequence[tuple[float, float]], expected: int) -> None:
    of_species = np.array([[0.1], [0.9], [0.3], [0.2]])
    start = np.array([0.0, 1.4, 2.0, 2.4])
    scores = ScoredWindows(of_species[1:2], np.array([0]), of_species, start, length=1.0, duration=3.2)
    assert best_window(scores, 0, pd.DataFrame(calls, columns=["t_min", "t_max"], dtype=float)) == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (SiteTime(), "Recording a0, "),
        (SiteTime("ridge"), "Recording a0, site ridge, "),
        (
            SiteTime("ridge", "2024-03-15T23:59:59-04:00"),
            "Recording a0, site ridge, 2024-03-16 00:00:00 (UTC-04:00), ",
        ),
        (SiteTime("", "2024-03-15T05:30:00+00:00"), "Recording a0, 2024-03-15 05:30:01 (UTC), "),
        (
            SiteTime("", "2024-03-15T05:30:00"),
            "Recording a0, 2024-03-15 05:30:01 (clock of the recorder), ",
        ),
    ],
)
def test_caption_has_site_and_absolute_time_where_known(
    dataset: Dataset, store: FrameStore, known: SiteTime, expected: str
) -> None:
    split = ScoredSplit("train", replace(dataset, site_times={"a0": known}), store, P, KNOWN, THRESHOLD)
    place = place_in_words(split, "a0", t_min=1.5, t_max=2.5)
    assert place == expected + "from 1.5 s to 2.5 s of the recording"


def test_window_of_a_long_recording_is_explained_in_its_segment(
    detector: Detector, dataset: Dataset, store: FrameStore
) -> None:
    """The recording has 101 frames. If those of training had 51, it has two segments of one window each."""
    scorer = scorer_of(detector)
    *_, (example,) = find_examples(
        replace(detector, longest=51), scorer, missed_in_training(dataset, store)
    ).values()
    assert example.window.t_min == 1.0
    whole = store.load("a0", "train")
    segment = Frames.of(whole.log_mel[50:], whole.contrast[50:])
    X = scorer.inputs(segment, np.array([0]), 50)
    assert example.decisive == decisive_for_window(scorer, X, 0, names=detector.species)
