"""Scoring of new recordings one by one, or in batches by the workers of a cluster."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from features.common.files import digest, replacing
from features.common.parallel import n_workers, on_workers
from features.data.audio import AudioError, source_of, state_of, stated_size
from features.data.metadata import recorder_time
from pipelines.core.detector import Detector
from pipelines.core.prediction_store import Prediction, PredictionStore, Source
from pipelines.core.runs import RunError

MAX_BATCH = 32  # number of recordings that a worker scores and stores together
BATCHES_PER_WORKER = 8  # so that workers end at about the same time


@dataclass(frozen=True)
class Request:
    """A recording to score.

    Attributes
    ----------
    recording_id : id of the recording.
    path : audio file.
    external : name of an external member -> its (n_species,) scores of the recording.
    """

    recording_id: str
    path: Path
    external: Mapping[str, np.ndarray]

    def content(self) -> str:
        """Return the digest of everything that the scores depend on; AudioError if the file is missing."""
        return digest(source_of(self.path), *self.external.values())

    def state(self) -> str:
        """Return the digest that changes if the file is written; AudioError if the file is missing."""
        return digest(state_of(self.path), *self.external.values())


class Outcome(NamedTuple):
    """What came of a recording.

    Attributes
    ----------
    duration : duration of the recording, s; 0 if it could not be scored.
    error : why it could not be scored.
    """

    duration: float = 0.0
    error: AudioError | None = None


def score_recording(detector: Detector, request: Request, state: str, store: PredictionStore) -> Outcome:
    """Score a recording, and store the scores unless the audio cannot be read.

    Parameters
    ----------
    state : state of the file from before it is read, in case that it changes meanwhile.
    """
    path = request.path
    try:
        content = request.content()
        scored = detector.score_file(path, request.external)
        prediction = Prediction(scored.scores, recorder_time(request.recording_id, path), *stated_size(path))
    except AudioError as error:
        return Outcome(error=error)
    store.add(request.recording_id, Source(content, state), prediction)
    return Outcome(prediction.duration)


def score_on_cluster(
    detector: Detector, requests: Iterable[tuple[Request, str]], store: PredictionStore, n: int
) -> Iterator[Outcome]:
    """Score recordings by the workers of a cluster; yield what came of each, in order.

    A worker writes the scores of a batch to one file, which is then merged into the store. If the command is
    killed, the next call merges what is left, see `merge_parts`.

    Parameters
    ----------
    requests : recordings, and the states of their files.
    store : the store, whose folder all workers can write to.
    n : number of recordings.
    """
    size = min(max(n // (BATCHES_PER_WORKER * n_workers()), 1), MAX_BATCH)
    score = ScoreBatch(detector.folder, detector.run_id, len(detector.species), _parts(store))
    for outcomes in on_workers(score, ((batch,) for batch in _divided(requests, size)), n_jobs=1):
        merge_parts(store)
        yield from outcomes
    shutil.rmtree(_parts(store), ignore_errors=True)  # unfinished files of workers that were killed


def merge_parts(store: PredictionStore) -> None:
    """Merge the files that workers have written into the store, and remove them."""
    folder = _parts(store)
    for file in sorted(folder.glob("[!.]*.db")):
        store.merge(file)
        file.unlink()


def _divided(requests: Iterable[tuple[Request, str]], size: int) -> Iterator[list[tuple[Request, str]]]:
    """Yield the requests in batches."""
    requests = iter(requests)
    while batch := list(islice(requests, size)):
        yield batch


def _parts(store: PredictionStore) -> Path:
    return store.file.absolute().parent / "parts"


@dataclass(frozen=True)
class ScoreBatch:
    """A function that scores recordings in a worker of a cluster and writes the scores to a file.

    Attributes
    ----------
    model : folder of the run.
    run_id : id of the run.
    n_species : number of species.
    parts : folder for the file.
    """

    model: Path
    run_id: str
    n_species: int
    parts: Path

    def __call__(self, batch: list[tuple[Request, str]]) -> list[Outcome]:
        detector = self.detector()
        file = self.parts / f"{digest(*(request.recording_id for request, _ in batch))}.db"
        with replacing(file, unique=True) as temporary:
            part = PredictionStore(temporary, model=self.run_id, n_species=self.n_species)
            with part.transaction():
                outcomes = [score_recording(detector, request, state, part) for request, state in batch]
            part.close()
        return outcomes

    def detector(self) -> Detector:
        """Return the detector, which a process loads once; RunError if the run has changed."""
        return _load_detector(self.model, self.run_id)


@lru_cache(maxsize=1)
def _load_detector(folder: Path, run_id: str) -> Detector:
    detector = Detector.load(folder)
    if detector.run_id != run_id:
        raise RunError(f"{folder}: the run has changed since the command began; run the command again")
    return detector
