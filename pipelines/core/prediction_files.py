"""The files that `predict` writes: scores, detections, a submission, and files for Raven and Audacity."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.annotations.audacity import write_audacity
from features.annotations.camtrap import write_camtrap
from features.annotations.raven import write_raven
from features.annotations.raven_sequence import write_raven_sequence
from features.common.files import real_path
from features.common.output_folder import OutputFolder
from features.common.table_writer import each_row, write_table
from features.data.metadata import later
from pipelines.core.detections import Detection, detection_table
from pipelines.core.failed_recordings import write_failed
from pipelines.core.predictions import Predicted, Predictions
from pipelines.core.priors import PrevalenceRule, write_prevalence

BATCH = 1024  # rows per data frame
RECORDINGS = 64  # number of recordings whose detections are made into one table
FORMATS = ("csv", "parquet", "camtrap-dp")
PLACE = ("recording_id", "site", "time")
"""First columns of scores and detections. The time is the absolute time of t_min."""

DECIMALS = {"t_min": 3, "t_max": 3, "f_min": 1, "f_max": 1, "score": 6, "threshold": 6}
"""Decimals of the numbers in detections."""

Read = Callable[[], Iterable[Predicted]]
"""Function that returns the scored recordings in order."""


@dataclass(frozen=True)
class PredictionFiles:
    """Writer of the files of one call of `predict`.

    Each file is written from the stored scores, one recording after the other, so that memory does not grow
    with the number of recordings; only a Camtrap DP package needs a table of all recordings.

    Attributes
    ----------
    output : output folder.
    predictions : the stored scores.
    rule : gives the prevalence to correct the scores for; None for uncorrected scores.
    threshold : (n_species,) lowest score at which a species is reported.
    form : one of `FORMATS`.
    per_recording : whether to write a Raven and an Audacity file for each recording with detections.
    """

    output: OutputFolder
    predictions: Predictions
    rule: PrevalenceRule | None
    threshold: np.ndarray
    form: str
    per_recording: bool

    def write_tables(self) -> None:
        """Write the scores and detections of the recordings that are scored so far."""
        read = partial(self.predictions.read, self._prevalence())
        with self.output.replacing(complete=False) as staged:
            self._write_scores(staged, read)
            self._write_detections(staged, read)

    def write(self, failed: Mapping[str, str]) -> int:
        """Write all files, remove those of earlier calls that are not written again; return the detections.

        Parameters
        ----------
        failed : why a recording has no scores, by recording id.
        """
        if self.form == "camtrap-dp":
            self.write_tables()  # in case recordings lack the time or place that the package needs
        detector, prevalence = self.predictions.detector, self._prevalence()
        read = partial(self.predictions.read, prevalence)
        prior = np.full(len(self._species), detector.prior) if prevalence is None else prevalence
        with self.output.replacing(complete=True) as staged:
            self._write_scores(staged, read)
            n_detections = self._write_detections(staged, read)
            self._write_submission(staged, read, failed=failed, prior=prior)
            self._write_raven(staged, read)
            write_failed(staged, {"test": failed})
            if prevalence is not None:
                write_prevalence(staged / "prior.csv", self._species, prevalence)
            if self.per_recording:
                self._write_per_recording(staged, read)
            if self.form == "camtrap-dp":
                self._write_camtrap(staged / "camtrap-dp", read)
        return n_detections

    @property
    def _species(self) -> tuple[str, ...]:
        return self.predictions.detector.species

    @property
    def _suffix(self) -> str:
        return ".parquet" if self.form == "parquet" else ".csv"

    def _prevalence(self) -> np.ndarray | None:
        """Return the prevalence to correct the scores for, (n_species,), or None."""
        if self.rule is None:
            return None
        detector = self.predictions.detector
        return self.rule(detector.probabilities(self.predictions.segment_scores()), detector.prior)

    def _write_scores(self, out: Path, read: Read) -> None:
        """Write one row per recording or, of a recording longer than those of training, one per segment."""

        def rows() -> Iterator[tuple[Any, ...]]:
            for one in read():
                start, end = one.scored.scores.segment_times()
                for t_min, t_max, P in zip(start, end, one.scored.scores.segments, strict=True):
                    yield *_place(one, t_min), float(t_min), float(t_max), *P.tolist()

        columns = [*PLACE, "t_min", "t_max", *self._species]
        write_table(out / f"scores{self._suffix}", _tables(rows(), columns))

    def _write_detections(self, out: Path, read: Read) -> int:
        """Write one row per detection; return the number of detections."""
        n_detections = 0

        def rows() -> Iterator[tuple[Any, ...]]:
            nonlocal n_detections
            for one, table in self._detections(read(), DECIMALS):
                n_detections += len(table)
                times = table["t_min"].tolist()
                for t_min, row in zip(times, each_row(table), strict=True):
                    yield *_place(one, t_min), *row

        columns = [*PLACE, *Detection._fields, "verifiable"]
        write_table(out / f"detections{self._suffix}", _tables(rows(), columns))
        return n_detections

    def _detections(
        self, recordings: Iterable[Predicted], decimals: dict[str, int] | None = None
    ) -> Iterator[tuple[Predicted, pd.DataFrame]]:
        """Yield each recording with its detections, whose numbers are rounded to `decimals`."""
        detector, recordings = self.predictions.detector, iter(recordings)
        while batch := list(islice(recordings, RECORDINGS)):
            found = [one.scored.detect(self.threshold) for one in batch]
            # One table for many recordings, because making a table takes longer than finding detections.
            table = detection_table(
                list(chain.from_iterable(found)), detector.species, detector.thresholds.verifiable
            ).round(decimals or {})
            ends = np.cumsum([len(own) for own in found])
            for one, own, end in zip(batch, found, ends, strict=True):
                yield one, table.iloc[end - len(own) : end].reset_index(drop=True)

    def _write_submission(self, out: Path, read: Read, *, failed: Iterable[str], prior: np.ndarray) -> None:
        """Write the scores in the format of the RFCX challenge; failed recordings get the scores `prior`."""

        def rows() -> Iterator[tuple[Any, ...]]:
            for one in read():
                yield one.recording_id, *one.scored.scores.recording.tolist()
            for recording_id in failed:
                yield recording_id, *prior.tolist()

        columns = ["recording_id", *(f"s{k}" for k in range(len(prior)))]
        write_table(out / "submission.csv", _tables(rows(), columns))

    def _write_raven(self, out: Path, read: Read) -> None:
        """Write the detections of all recordings as one Raven table."""
        rows = ((one.path, one.duration, detections) for one, detections in self._detections(read()))
        write_raven_sequence(out / "detections.selections.txt", rows)

    def _write_per_recording(self, out: Path, read: Read) -> None:
        """Write a Raven and an Audacity file for each recording with detections."""
        for one, detections in self._detections(read()):
            if len(detections):
                write_raven(out / "raven" / f"{one.recording_id}.Table.1.selections.txt", detections)
                write_audacity(out / "audacity" / f"{one.recording_id}.txt", detections)

    def _write_camtrap(self, folder: Path, read: Read) -> None:
        """Write the detections of all recordings as a Camtrap DP package."""
        recordings = {
            one.recording_id: {**one.site_time._asdict(), "file": one.path, "duration": one.duration}
            for one in read()
        }
        write_camtrap(
            folder,
            name=real_path(self.output.folder).name,
            classified_by=f"Understory {self.predictions.detector.folder.name}",
            recordings=pd.DataFrame.from_dict(recordings, orient="index"),
            observations=(
                detections.assign(recording_id=one.recording_id)
                for one, detections in self._detections(read())
            ),
        )


def _place(one: Predicted, seconds: float) -> tuple[str, str, str]:
    """Return the id and the site of a recording, and the time some seconds after its start."""
    return one.recording_id, one.site_time.site, later(one.site_time.start, seconds)


def _tables(rows: Iterator[tuple[Any, ...]], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield rows as data frames; the first one is empty, and names the columns if there are no rows."""
    yield pd.DataFrame(columns=list(columns))
    while batch := list(islice(rows, BATCH)):
        yield pd.DataFrame(batch, columns=list(columns))
