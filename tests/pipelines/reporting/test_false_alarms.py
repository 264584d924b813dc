"""False alarms in recordings without calls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.data.dataset import load_dataset
from features.frames.frames import Frames
from features.frames.store import FrameStore
from models.scoring.thresholds import ThresholdSteps
from pipelines.core.detector import Detector
from pipelines.reporting.false_alarms import count_false_alarms, noise_recordings


@pytest.fixture(scope="module")
def noises(trained: tuple[Path, Path]) -> dict[str, list[Frames]]:
    data, results = trained
    store = FrameStore(results / "frames", Detector.load(results / "blend").settings)
    return noise_recordings(store, load_dataset(data), 0)


def test_there_are_ten_minutes_of_noise(noises: dict[str, list[Frames]]) -> None:
    # The quiet moments of 6 recordings, 2 s each, are joined into one recording of 12 s.
    assert [len(recordings) for recordings in noises.values()] == [10, 10, 1]
    rate = 50  # frames per second
    n_frames = {kind: sum(map(len, recordings)) for kind, recordings in noises.items()}
    assert n_frames["silence"] == n_frames["white noise"] == 10 * (60 * rate + 1)
    assert n_frames["quietest moments of the training recordings"] == 12 * rate


def test_detections_are_counted_per_hour(trained: tuple[Path, Path], noises: dict[str, list[Frames]]) -> None:
    detector = Detector.load(trained[1] / "blend")
    steps = ThresholdSteps(np.ones(1), np.zeros(1))
    thresholds = replace(detector.thresholds, precision=(steps,) * 3)
    alarms = count_false_alarms(replace(detector, thresholds=thresholds), noises, 2)
    assert list(alarms["noise"]) == list(noises)
    assert (alarms["detections per hour"] >= 60 * 3).all()  # every species in every minute
    assert set(alarms["species without a detection"]) == {"0 of 3"}
    thresholds = replace(thresholds, precision=(steps._replace(threshold=np.array([1.01])),) * 3)
    alarms = count_false_alarms(replace(detector, thresholds=thresholds), noises, 2)
    assert (alarms["detections per hour"] == 0).all()
    assert set(alarms["species without a detection"]) == {"3 of 3"}
    assert set(alarms["reported most often, per hour"]) == {"none"}
    assert np.isclose(alarms["minutes"], [10, 10, 0.2], atol=0.01).all()
