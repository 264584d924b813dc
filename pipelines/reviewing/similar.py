"""Search by example: the windows that are most similar to a call, as a queue to verify."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from features.columns.similarity import CallExample, Whitening
from features.columns.statistics import Statistics
from features.common.errors import UserError
from features.common.parallel import in_parallel
from features.data.audio import AudioError, stated_size
from features.data.box import Box
from features.data.metadata import SiteTime, site_time
from features.frames.frames import Frames
from features.frames.segments import in_segments
from features.frames.spectral import SpectralSettings
from features.frames.store import frames_of, packed_frames
from features.frames.windows import WindowSettings, window_starts
from pipelines.reviewing.population import Population, RecordingScores, SampledScores
from pipelines.reviewing.queue import Queue

SIMILAR = "similar"
"""Reason for which a window is in the queue."""
SEGMENT = 60.0  # s; longer recordings are processed in segments, each with its own background
MAX_CALL = 20.0  # s
N_ORDINARY = 100  # recordings from which the covariance of the columns is computed
PER_RECORDING = 3  # windows of one recording in the queue


def read_example(clip: Path, box: Box | None) -> CallExample:
    """Return the call in a recording.

    Parameters
    ----------
    clip : audio file.
    box : where the call is; None for the whole clip and all frequencies.

    Raises
    ------
    AudioError
        The file cannot be read.
    UserError
        The box is not inside the recording, is too long, or has no sound.
    """
    settings, window = SpectralSettings(), WindowSettings()
    frames = frames_of(clip, settings)
    duration = (len(frames) - 1) / settings.frame_rate
    if box is None:
        box = Box(0.0, duration, settings.fmin, settings.fmax)
    in_time = 0 <= box.t_min < box.t_max <= duration + 1 / settings.frame_rate
    if not (in_time and 0 <= box.f_min < box.f_max < np.inf):
        raise UserError(
            f"{clip}: {' '.join(f'{x:g}' for x in box)} is not a box in this recording of {duration:.2f} s; "
            f"give --box T_MIN T_MAX F_MIN F_MAX in s and Hz"
        )
    if box.t_max - box.t_min > MAX_CALL:
        raise UserError(
            f"{clip}: the call lasts {box.t_max - box.t_min:.1f} s, more than {MAX_CALL:g} s; give the part "
            f"with the call with --box T_MIN T_MAX F_MIN F_MAX"
        )
    length, _ = window.in_frames(settings.frame_rate)
    try:
        return CallExample.of(frames, box, length=length, settings=settings)
    except ValueError as error:
        raise UserError(f"{clip}: {error}; give another --box") from error


def find_similar(
    example: CallExample,
    recordings: Mapping[str, Path],
    site_times: Mapping[str, SiteTime],
    *,
    seed: int,
    n_jobs: int,
) -> Population:
    """Return the windows of each recording that are most similar to an example, with their similarity.

    They do not overlap, and each recording has at most `PER_RECORDING`. A recording that cannot be read is
    left out with a warning.

    Parameters
    ----------
    example : the call to search for.
    recordings : audio file of each recording id.
    site_times : site and time of recordings, as in recordings.csv.
    seed : random seed of the choice of recordings that the columns are compared with.
    n_jobs : number of cores to use.

    Raises
    ------
    UserError
        No recording can be read.
    """
    ids = np.array(list(recordings), object)
    drawn = np.random.default_rng(seed).permutation(len(ids))[:N_ORDINARY]
    settings, window = example.settings, WindowSettings()
    length, hop = window.in_frames(settings.frame_rate)

    def ordinary(recording_id: str) -> np.ndarray | AudioError:
        try:
            return np.concatenate(
                [
                    Statistics(settings).measure(frames, starts, length)
                    for _, frames, starts in _segments(recordings[recording_id], settings, length, hop)
                ]
            )
        except AudioError as error:
            return error

    measured = list(in_parallel(ordinary, ((r,) for r in ids[drawn]), n_jobs))
    columns = [rows for rows in measured if not isinstance(rows, AudioError)]
    if not columns:
        raise next(error for error in measured if isinstance(error, AudioError))
    whitening = Whitening.fit(np.concatenate(columns))

    def search(recording_id: str) -> RecordingScores | AudioError:
        path = recordings[recording_id]
        similarity, start = [], []
        try:
            for first, frames, starts in _segments(path, settings, length, hop):
                similarity.append(example.similarity(frames, starts, length, whitening))
                start.append((first + starts) / settings.frame_rate)
            _, duration = stated_size(path)
        except AudioError as error:
            return error
        scores, begin = np.concatenate(similarity), np.concatenate(start)
        best = most_similar(scores, begin, window.length)
        place = site_time(recording_id, path, site_times)
        of_best = np.clip(scores[best, None], 0, 1)
        return RecordingScores(recording_id, of_best, begin[best], window.length, place, duration)

    def found() -> Iterator[RecordingScores]:
        searched = in_parallel(search, ((r,) for r in ids), n_jobs)
        for one in tqdm(searched, desc="search", total=len(ids), unit="recording"):
            if isinstance(one, AudioError):
                print(f"warning: left out: {one}", file=sys.stderr)
            else:
                yield one

    return Population.collect(found(), recordings)


def most_similar(similarity: np.ndarray, start: np.ndarray, length: float) -> np.ndarray:
    """Return the indices of at most `PER_RECORDING` windows that do not overlap, in the order of their start.

    Examples
    --------
    >>> start = np.arange(0, 3, 0.5)
    >>> most_similar(np.array([0.1, 0.9, 0.8, 0.2, 0.3, 0.7]), start, length=1.0).tolist()
    [1, 3, 5]
    """
    chosen: list[int] = []
    for k in np.argsort(-similarity, kind="stable"):
        if (np.abs(start[k] - start[chosen]) > length - 1e-6).all():
            chosen.append(int(k))
        if len(chosen) == PER_RECORDING:
            break
    return np.array(sorted(chosen), int)


def similar_queue(
    population: Population, name: str, band: tuple[float, float], *, source: str, n: int
) -> tuple[Queue, SampledScores]:
    """Return a queue of the most similar windows, and their scores.

    Parameters
    ----------
    population : what `find_similar` returned.
    name : species of the example.
    band : its lowest and highest frequency, Hz.
    source : description of the example.
    n : number of windows.
    """
    window = np.argsort(-population.scores[:, 0], kind="stable")[:n]
    items = pd.DataFrame(
        {
            "window": window,
            "species": name,
            "score": population.scores[window, 0].astype(float).round(6),
            "reason": SIMILAR,
            "inclusion_probability": 0.0,
            "threshold": 0.0,
            "f_min": band[0],
            "f_max": band[1],
        }
    )
    queue = Queue.of(source, (name,), np.zeros(1), items, population)
    none_drawn = np.full(population.scores.shape, -1, np.int32)
    return queue, SampledScores(population.scores, none_drawn, population.place, population.hour)


def _segments(
    path: Path, settings: SpectralSettings, length: int, hop: int
) -> Iterator[tuple[int, Frames, np.ndarray]]:
    """Yield the first frame, the frames and the starts of the windows of each segment of a recording."""
    longest = round(SEGMENT * settings.frame_rate) + 1
    for first, frames in in_segments(packed_frames(path, settings), longest, settings):
        yield first, frames, window_starts(len(frames), length, hop)
