"""False reports in recordings without a species, and detections in silence and white noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.scoring.thresholds import ThresholdSteps
from pipelines.core.detector import Detector
from pipelines.reporting.false_alarms import FalseReports, count_noise_detections, noise_recordings


def test_false_reports_are_counted_in_recordings_known_not_to_contain_the_species() -> None:
    known = np.array([[0, 1, np.nan], [0, 0, np.nan], [np.nan, 0, 1], [1, np.nan, np.nan]])
    P = np.array([[0.9, 0.9, 0.9], [0.1, 0.5, 0.9], [0.9, 0.2, 0.9], [0.9, 0.9, 0.9]])
    hours = np.array([1.0, 0.5, 0.25, 2.0])
    found = FalseReports.count(known, P, threshold=np.full(3, 0.5), hours=hours)
    assert found.n_reports.tolist() == [1, 1, 0]
    assert found.hours.tolist() == [1.5, 0.75, 0]
    np.testing.assert_allclose(found.per_hour, [1 / 1.5, 1 / 0.75, np.nan])
    assert found.n_species == 2
    assert found.total_hours == 1.75  # the last recording is not known to lack a species
    assert found.total_per_hour == pytest.approx(2.0)


def test_rate_is_that_of_any_number_of_equal_recordings() -> None:
    known, P = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[0.9, 0.1], [0.2, 0.9]])
    once = FalseReports.count(known, P, threshold=np.full(2, 0.5), hours=np.array([0.1, 0.3]))
    many = FalseReports.count(
        np.tile(known, (7, 1)), np.tile(P, (7, 1)), threshold=np.full(2, 0.5), hours=np.tile([0.1, 0.3], 7)
    )
    np.testing.assert_allclose(once.per_hour, [2.5, 0])
    np.testing.assert_allclose(many.per_hour, once.per_hour)
    assert many.total_hours == pytest.approx(7 * once.total_hours)


def test_no_known_absence_gives_no_rate() -> None:
    nothing = FalseReports.count(
        np.array([[1, np.nan]]), np.ones((1, 2)), threshold=np.zeros(2), hours=np.ones(1)
    )
    assert nothing.n_species == 0
    assert np.isnan(nothing.per_hour).all()


@pytest.fixture(scope="module")
def noises(trained: tuple[Path, Path]) -> dict[str, list[list[np.ndarray]]]:
    return noise_recordings(Detector.load(trained[1] / "blend").settings, 0)


def test_there_are_ten_minutes_of_each_noise(noises: dict[str, list[list[np.ndarray]]]) -> None:
    assert list(noises) == ["silence", "white noise"]
    for recordings in noises.values():
        lengths = [sum(map(len, blocks)) for blocks in recordings]
        assert lengths == [60 * 50 + 1] * 10  # 50 frames per second


def test_detections_in_noise_are_counted_per_hour(
    trained: tuple[Path, Path], noises: dict[str, list[list[np.ndarray]]]
) -> None:
    detector = Detector.load(trained[1] / "blend")
    two_minutes = {kind: recordings[:2] for kind, recordings in noises.items()}
    steps = ThresholdSteps(np.ones(1), np.zeros(1))
    thresholds = replace(detector.thresholds, precision=(steps,) * 3)
    alarms = count_noise_detections(replace(detector, thresholds=thresholds), two_minutes, 2)
    assert list(alarms["noise"]) == list(noises)
    assert (alarms["detections per hour"] >= 60 * 3).all()  # every species in every minute
    assert set(alarms["species without a detection"]) == {"0 of 3"}
    thresholds = replace(thresholds, precision=(steps._replace(threshold=np.array([1.01])),) * 3)
    alarms = count_noise_detections(replace(detector, thresholds=thresholds), two_minutes, 2)
    assert (alarms["detections per hour"] == 0).all()
    assert set(alarms["species without a detection"]) == {"3 of 3"}
    assert set(alarms["reported most often, per hour"]) == {"none"}
    assert np.isclose(alarms["minutes"], [2, 2], atol=0.01).all()
