"""Detections from the scores of a recording's windows."""

import numpy as np

from pipelines.core.detections import Detection, ScoredWindows, detect, detection_table


def scored(windows: list[list[float]], recording: list[float]) -> ScoredWindows:
    """Return scores of windows of 1 s with a hop of 0.5 s; the last window is cut to 0.8 s."""
    start = 0.5 * np.arange(len(windows))
    return ScoredWindows(np.array([recording]), np.array([0]), np.array(windows), start, 1.0, start[-1] + 0.8)


def test_overlapping_windows_above_the_threshold_are_merged() -> None:
    p = [0.1, 0.8, 0.9, 0.1, 0.1, 0.1, 0.7]
    found = detect(
        scored([[value, 0.2] for value in p], [0.85, 0.3]),
        np.array([0.6, 0.5]),
        np.array([[500.0, 900.0], [1.0, 2.0]]),
    )
    assert found == [
        Detection(0, 0.5, 2.0, 500.0, 900.0, 0.9, 0.6),
        Detection(0, 3.0, 3.8, 500.0, 900.0, 0.7, 0.6),  # the last window ends where the recording ends
    ]


def test_species_above_its_threshold_has_at_least_one_detection() -> None:
    """The score of a blend for a recording can be above the scores of all its windows."""
    found = detect(scored([[0.4], [0.5]], [0.7]), np.array([0.6]), np.array([[0.0, 1.0]]))
    assert [(d.t_min, d.score) for d in found] == [(0.5, 0.5)]


def test_species_below_its_threshold_has_no_detection() -> None:
    assert detect(scored([[0.9]], [0.5]), np.array([0.6]), np.array([[0.0, 1.0]])) == []


def test_species_is_reported_only_in_segments_that_reach_its_threshold() -> None:
    """Segments of 4 windows; the last one overlaps the one before it by 2 windows."""
    first, start = np.array([0, 4, 8]), np.array([0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9]) / 2
    p = np.array([0.1, 0.9, 0.1, 0.8, 0.9, 0.1, 0.1, 0.9, 0.1, 0.95, 0.9, 0.1])
    windows = np.stack([p, np.where(start < 2, 0.9, 0.1)], axis=1)
    segments = np.array([[0.5, 0.9], [0.8, 0.4], [0.9, 0.4]])
    scores = ScoredWindows(segments, first, windows, start, 1.0, 5.5)
    found = detect(scores, np.array([0.6, 0.6]), np.zeros((2, 2)))
    assert [(d.species, d.t_min, d.t_max, d.score) for d in found] == [
        (1, 0.0, 2.5, 0.9),
        (0, 2.0, 3.0, 0.9),
        (0, 3.5, 5.0, 0.95),
    ]
    assert [times.tolist() for times in scores.segment_times()] == [[0.0, 2.0, 3.0], [2.5, 4.5, 5.5]]


def test_detections_are_sorted_by_start() -> None:
    windows = [[0.0, 0.9], [0.0, 0.0], [0.0, 0.0], [0.8, 0.0]]
    found = detect(scored(windows, [0.8, 0.9]), np.array([0.5, 0.5]), np.zeros((2, 2)))
    assert [(d.species, d.t_min) for d in found] == [(1, 0.0), (0, 1.5)]


def test_table_has_the_fields_of_a_detection_and_names_of_species() -> None:
    species, verifiable = ("coqui", "owl"), np.array([True, False])
    table = detection_table([Detection(1, 0.5, 2.0, 500.0, 900.0, 0.9, 0.6)], species, verifiable)
    expected = ["species", "t_min", "t_max", "f_min", "f_max", "score", "threshold", "verifiable"]
    assert list(table.columns) == expected
    assert table.to_numpy().tolist() == [["owl", 0.5, 2.0, 500.0, 900.0, 0.9, 0.6, False]]
    assert list(detection_table([], species, verifiable).columns) == expected
