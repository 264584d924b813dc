"""The windows that a queue is chosen from, and their scores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from features.columns.block import ArraySpec, read_block
from features.common.errors import UserError
from features.common.files import replacing
from features.data.dataset import Dataset
from features.data.metadata import SiteTime, later
from pipelines.core.detector import Detector
from pipelines.core.prediction_store import PredictionStore
from pipelines.core.predictions import Predictions

MAX_STRATUM = 100_000  # a damaged file must not lead to a huge array


class Place(NamedTuple):
    """Where and when windows were recorded.

    Attributes
    ----------
    site : "" if unknown.
    day : date in ISO 8601; "" if unknown.
    """

    site: str
    day: str


class RecordingScores(NamedTuple):
    """Scores of windows of one recording that do not overlap.

    Attributes
    ----------
    recording_id : str
    scores : (n_windows, n_species) probabilities.
    start : (n_windows,) start of each window, s.
    length : window length, s.
    site_time : site and time of the recording.
    duration : of the recording, s.
    """

    recording_id: str
    scores: np.ndarray
    start: np.ndarray
    length: float
    site_time: SiteTime
    duration: float


@dataclass(frozen=True)
class Population:
    """Windows of scored recordings that do not overlap, in the order of the recordings.

    Attributes
    ----------
    scores : (n_windows, n_species) float32 probabilities.
    recording : (n_windows,) position of the recording in `recordings`.
    start : (n_windows,) start of each window, s.
    place : (n_windows,) position of the place in `places`.
    hour : (n_windows,) hour of the day, 0 to 23; -1 if unknown.
    length : window length, s.
    recordings : audio file of each recording id.
    site_times : site and time of each recording id.
    durations : duration of each recording id, s.
    places : the places in order.
    """

    scores: np.ndarray
    recording: np.ndarray
    start: np.ndarray
    place: np.ndarray
    hour: np.ndarray
    length: float
    recordings: Mapping[str, Path]
    site_times: Mapping[str, SiteTime]
    durations: Mapping[str, float]
    places: tuple[Place, ...]

    @classmethod
    def of(cls, predictions: Predictions) -> Self:
        """Return the windows of all scored recordings."""

        def of_recordings() -> Iterator[RecordingScores]:
            for one in predictions.read():
                windows = one.scored.scores
                chosen = without_overlap(windows.start, windows.length)
                yield RecordingScores(
                    one.recording_id,
                    predictions.detector.probabilities(windows.windows[chosen]),
                    windows.start[chosen],
                    windows.length,
                    one.site_time,
                    one.duration,
                )

        return cls.collect(of_recordings(), predictions.recordings)

    @classmethod
    def collect(cls, parts: Iterable[RecordingScores], recordings: Mapping[str, Path]) -> Self:
        """Return the windows of recordings, whose audio files are given by id."""
        scores, recording, start, days, hours = [], [], [], [], []
        site_times, durations, length = {}, {}, 0.0
        for k, one in enumerate(parts):
            scores.append(one.scores.astype(np.float32))
            recording.append(np.full(len(one.start), k))
            start.append(one.start)
            times = [later(one.site_time.start, float(t)) for t in one.start]
            days += [Place(one.site_time.site, time.partition("T")[0]) for time in times]
            hours += [int(time[11:13]) if time else -1 for time in times]
            site_times[one.recording_id] = one.site_time
            durations[one.recording_id] = one.duration
            length = one.length
        places = tuple(sorted(set(days)))
        number = {place: k for k, place in enumerate(places)}
        return cls(
            scores=np.concatenate(scores),
            recording=np.concatenate(recording),
            start=np.concatenate(start),
            place=np.array([number[day] for day in days], int),
            hour=np.array(hours, int),
            length=length,
            recordings={recording_id: recordings[recording_id] for recording_id in site_times},
            site_times=site_times,
            durations=durations,
            places=places,
        )

    def __len__(self) -> int:
        return len(self.start)

    def overlapping(self, boxes: pd.DataFrame) -> np.ndarray:
        """Return which windows a box of the species overlaps, (n_windows, n_species) bool.

        Parameters
        ----------
        boxes : recording_id, species_id, t_min and t_max of boxes; recordings may be unknown here.
        """
        found = np.zeros(self.scores.shape, bool)
        number = {recording_id: k for k, recording_id in enumerate(self.recordings)}
        first = np.searchsorted(self.recording, np.arange(len(number) + 1))
        known = boxes[boxes["recording_id"].isin(list(number))]
        columns = (known[name] for name in ("recording_id", "species_id", "t_min", "t_max"))
        for recording_id, species, t_min, t_max in zip(*columns, strict=True):
            k = number[recording_id]
            windows = slice(first[k], first[k + 1])
            start = self.start[windows]
            found[windows, species] |= (start < t_max) & (start + self.length > t_min)
        return found


def read_population(
    detector: Detector,
    predicted: Path,
    recordings: Mapping[str, Path],
    site_times: Mapping[str, SiteTime],
) -> Population:
    """Return the windows of recordings that `predict.py` has scored.

    Parameters
    ----------
    detector : model that scored them.
    predicted : output folder of `predict.py`.
    recordings : audio file of each recording id.
    site_times : site and time of recordings, as in recordings.csv.

    Raises
    ------
    UserError
        The folder has no scores of this model, or not of all recordings.
    """
    store = PredictionStore.open_existing(
        predicted / "predictions.db", model=detector.run_id, n_species=len(detector.species)
    )
    missing = recordings.keys() - store.sources().keys()
    if missing:
        raise UserError(
            f"{predicted}: {len(missing)} of {len(recordings)} recordings have no scores, such as "
            f"'{min(missing)}'; run 'python pipelines/predict.py' with these recordings first"
        )
    return Population.of(Predictions(detector, store, recordings, site_times, {}))


def boxed_windows(population: Population, dataset: Dataset, species: Sequence[str]) -> np.ndarray:
    """Return which windows have a box of the species in a data set, (n_windows, n_species) bool.

    Parameters
    ----------
    species : names of the species of the population; the data set can have others.
    """
    number = {name: k for k, name in enumerate(species)}
    found = np.zeros(population.scores.shape, bool)
    for boxes in (dataset.tp, dataset.fp):
        named = boxes["species_id"].map(dict(enumerate(dataset.species))).map(number)
        found |= population.overlapping(boxes[named.notna()].assign(species_id=named.dropna().astype(int)))
    return found


def without_overlap(start: np.ndarray, length: float) -> np.ndarray:
    """Return the indices of windows that do not overlap, as many as possible, in the order of their start.

    Examples
    --------
    >>> without_overlap(np.array([0.0, 0.5, 1.0, 1.5, 1.9]), length=1.0).tolist()
    [0, 2]
    """
    chosen: list[int] = []
    end = -np.inf
    for k in np.argsort(start, kind="stable"):
        if start[k] >= end - 1e-6:  # starts are rounded
            chosen.append(int(k))
            end = start[k] + length
    return np.array(chosen, int)


class SampledScores(NamedTuple):
    """What is stored of a population for estimates.

    Attributes
    ----------
    scores : (n_windows, n_species) float32 probabilities.
    stratum : (n_windows, n_species) stratum of each window in the sample of a species; -1 if it was excluded.
    place : (n_windows,) position of the place in the list of places.
    hour : (n_windows,) hour of the day, 0 to 23; -1 if unknown.
    """

    scores: np.ndarray
    stratum: np.ndarray
    place: np.ndarray
    hour: np.ndarray

    def save(self, file: Path) -> None:
        """Write the arrays to an npz file."""
        with replacing(file) as temporary:
            np.savez(temporary, **self._asdict())

    @classmethod
    def load(cls, file: Path, n_species: int, n_places: int) -> Self:
        """Return the arrays that `save` wrote.

        Raises
        ------
        ValueError
            The file is missing or not valid.
        """
        specs = {
            "scores": ArraySpec(("n_windows", n_species), np.float32, 0, 1),
            "stratum": ArraySpec(("n_windows", n_species), int, -1, MAX_STRATUM),
            "place": ArraySpec(("n_windows",), int, 0, n_places - 1),
            "hour": ArraySpec(("n_windows",), int, -1, 23),
        }
        return cls(**read_block(file, specs))
