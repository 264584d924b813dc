"""Scores of new recordings: each recording is scored once, stored, and read back in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from features.common.files import digest
from features.common.parallel import in_parallel
from features.data.audio import AudioError, source_of, state_of, stated_size
from features.data.metadata import SiteTime, recorder_time, with_table
from pipelines.core.detector import Detector, ScoredRecording
from pipelines.core.prediction_store import Prediction, PredictionStore, Source


class Predicted(NamedTuple):
    """A scored recording.

    Attributes
    ----------
    recording_id : id of the recording.
    path : audio file.
    site_time : site and time of the recording.
    duration : duration of the recording, s.
    scored : scores of the recording.
    """

    recording_id: str
    path: Path
    site_time: SiteTime
    duration: float
    scored: ScoredRecording


@dataclass(frozen=True)
class Predictions:
    """Scores of recordings in a store.

    Attributes
    ----------
    detector : scores the recordings.
    store : holds the scores.
    recordings : audio file of each recording id.
    site_times : rows of recordings.csv.
    external : name of an external member -> its (n_recordings, n_species) scores.
    """

    detector: Detector
    store: PredictionStore
    recordings: Mapping[str, Path]
    site_times: Mapping[str, SiteTime]
    external: Mapping[str, np.ndarray]

    def missing(self) -> list[str]:
        """Return the recordings that are new or have changed; remove vanished ones from the store."""
        stored = self.store.sources()
        self.store.remove(stored.keys() - self.recordings.keys())
        return [r for row, r in enumerate(self.recordings) if not self._is_stored(stored.get(r), row, r)]

    def _is_stored(self, stored: Source | None, row: int, recording_id: str) -> bool:
        if stored is None:
            return False
        try:
            return stored.state == self._state(row, recording_id) or (
                stored.content == self._content(row, recording_id)
            )
        except AudioError:  # the file is missing; scoring it gives the error
            return False

    def score(self, recording_ids: Sequence[str], n_jobs: int) -> Iterator[AudioError | None]:
        """Score recordings and yield None for each, or the error if it cannot be scored.

        Each recording is stored as soon as it is scored.

        Parameters
        ----------
        n_jobs : number of recordings scored in parallel.
        """
        row = {recording_id: k for k, recording_id in enumerate(self.recordings)}
        return in_parallel(self._score_one, ((row[r], r) for r in recording_ids), n_jobs)

    def _score_one(self, row: int, recording_id: str) -> AudioError | None:
        path = self.recordings[recording_id]
        try:
            state = self._state(row, recording_id)  # before the audio is read, in case it changes meanwhile
            source = Source(self._content(row, recording_id), state)
            scored = self.detector.score_file(path, {name: P[row] for name, P in self.external.items()})
            prediction = Prediction(scored.scores, recorder_time(recording_id, path), *stated_size(path))
        except AudioError as error:
            self.store.remove([recording_id])
            return error
        self.store.add(recording_id, source, prediction)
        return None

    def _content(self, row: int, recording_id: str) -> str:
        return digest(source_of(self.recordings[recording_id]), *self._external(row))

    def _state(self, row: int, recording_id: str) -> str:
        return digest(state_of(self.recordings[recording_id]), *self._external(row))

    def _external(self, row: int) -> list[np.ndarray]:
        return [P[row] for P in self.external.values()]

    def segment_scores(self) -> np.ndarray:
        """Return the scores of the segments of all stored recordings, (n_segments, n_species)."""
        # In the order of the recordings, because the last bits of a sum depend on the order.
        parts = [self.store.read_segments(r) for r in self.recordings]
        return np.concatenate([np.empty((0, len(self.detector.species))), *parts])

    def read(self, prevalence: np.ndarray | None = None) -> Iterator[Predicted]:
        """Yield the stored recordings in order.

        Parameters
        ----------
        prevalence : (n_species,) prevalence to correct the scores for; None for uncorrected scores.
        """
        for recording_id, path in self.recordings.items():
            prediction = self.store.read(recording_id)
            if prediction is not None:
                scored = ScoredRecording(self.detector, prediction.scores)
                if prevalence is not None:
                    scored = scored.at_prevalence(prevalence)
                row = self.site_times.get(recording_id, SiteTime())
                place = with_table(prediction.recorded, row)
                yield Predicted(recording_id, path, place, prediction.duration, scored)
