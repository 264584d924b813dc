"""Scores of new recordings: each recording is scored once, stored, and read back in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from features.common.parallel import in_parallel, on_cluster
from features.data.audio import AudioError
from features.data.metadata import SiteTime, with_table
from pipelines.core.batches import Outcome, Request, merge_parts, score_on_cluster, score_recording
from pipelines.core.detector import Detector, ScoredRecording
from pipelines.core.prediction_store import PredictionStore, Source


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
        merge_parts(self.store)
        stored = self.store.sources()
        self.store.remove(stored.keys() - self.recordings.keys())
        return [request.recording_id for request in self._requests() if not self._is_stored(request, stored)]

    def _requests(self) -> Iterator[Request]:
        for row, (recording_id, path) in enumerate(self.recordings.items()):
            yield Request(recording_id, path, {name: P[row] for name, P in self.external.items()})

    @staticmethod
    def _is_stored(request: Request, stored: Mapping[str, Source]) -> bool:
        source = stored.get(request.recording_id)
        if source is None:
            return False
        try:
            return source.state == request.state() or source.content == request.content()
        except AudioError:  # the file is missing; scoring it gives the error
            return False

    def score(self, recording_ids: Sequence[str], n_jobs: int) -> Iterator[Outcome]:
        """Score recordings and yield what came of each, in order.

        Each recording is stored as soon as it is scored, or on a cluster as soon as its batch is.

        Parameters
        ----------
        n_jobs : number of recordings scored in parallel, without a cluster.
        """
        wanted = set(recording_ids)
        requests = (
            (request, _state(request)) for request in self._requests() if request.recording_id in wanted
        )
        if on_cluster():
            outcomes = score_on_cluster(self.detector, requests, self.store, n=len(wanted))
        else:
            score = partial(score_recording, self.detector, store=self.store)
            outcomes = in_parallel(score, requests, n_jobs)
        for recording_id, outcome in zip(recording_ids, outcomes, strict=True):
            if outcome.error is not None:
                self.store.remove([recording_id])
            yield outcome

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


def _state(request: Request) -> str:
    """Return the state of a recording; an empty one if the file is missing, which scoring then reports."""
    try:
        return request.state()
    except AudioError:
        return ""
