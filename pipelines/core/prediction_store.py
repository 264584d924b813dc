"""`PredictionStore`: scores of new recordings on disk, so that an interrupted `predict` can continue."""

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from features.common.errors import UserError
from features.data.metadata import SiteTime
from pipelines.core.detections import ScoredWindows

DROP = "DROP TABLE IF EXISTS settings; DROP TABLE IF EXISTS output; DROP TABLE IF EXISTS recording;"
SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS recording (
    recording_id TEXT PRIMARY KEY, source TEXT, state TEXT, sr INTEGER, duration REAL,
    site TEXT, start TEXT, latitude REAL, longitude REAL,
    length REAL, end REAL, segments BLOB, first BLOB, windows BLOB, window_start BLOB
);
"""
VERSION = 4  # increase it when the tables change


class Source(NamedTuple):
    """What the scores of a recording depend on, besides the model.

    Attributes
    ----------
    content : digest of the audio and of the scores of external members.
    state : digest that changes if the audio file is written or replaced. If it has not changed, the content
        has not changed, and the audio need not be read.
    """

    content: str
    state: str


class Prediction(NamedTuple):
    """What is stored of a recording.

    Attributes
    ----------
    scores : scores of its segments and windows.
    recorded : site and time according to the recorder.
    sr : sample rate, Hz.
    duration : duration of the recording, s.
    """

    scores: ScoredWindows
    recorded: SiteTime
    sr: int
    duration: float


class PredictionStore:
    """Scores of recordings in an SQLite file.

    A recording is stored as soon as it is scored. The file is valid at any moment, also if the command is
    killed. Several threads may use one object.

    Parameters
    ----------
    file : the SQLite file, which is created if it does not exist.
    model : digest of the model. A file with scores of another model is emptied.
    n_species : number of species of the model.

    Raises
    ------
    UserError
        The file cannot be read or written, or is not such a file.
    """

    def __init__(self, file: Path, *, model: str, n_species: int) -> None:
        self.file = file
        self.model = model
        self.n_species = n_species
        self._lock = threading.Lock()
        with self._errors():
            self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            if self._database.execute("PRAGMA user_version").fetchone() != (VERSION,):
                self._database.executescript(f"{DROP}{SCHEMA}PRAGMA user_version = {VERSION};")
            self._n_discarded = 0
            stored = self._database.execute("SELECT value FROM settings WHERE name = 'model'").fetchone()
            if stored != (model,):
                (self._n_discarded,) = self._database.execute("SELECT count(*) FROM recording").fetchone()
                self._database.execute("DELETE FROM recording")
                self._database.execute("INSERT OR REPLACE INTO settings VALUES ('model', ?)", (model,))

    @classmethod
    def open_existing(cls, file: Path, *, model: str, n_species: int) -> Self:
        """Return the store in an existing file, which is not changed.

        Raises
        ------
        UserError
            The file does not exist, cannot be read, or has no scores of this model.
        """
        remedy = "run 'python pipelines/predict.py' with this model first"
        if not file.is_file():
            raise UserError(f"{file}: not found; {remedy}")
        try:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
                version = database.execute("PRAGMA user_version").fetchone()
                stored = (
                    version == (VERSION,)
                    and database.execute("SELECT value FROM settings WHERE name = 'model'").fetchone()
                )
        except sqlite3.DatabaseError as error:
            raise UserError(f"{file}: cannot be read ({error}); delete it, and {remedy}") from error
        if stored != (model,):
            raise UserError(f"{file}: has scores of another model; {remedy}")
        return cls(file, model=model, n_species=n_species)

    @property
    def n_discarded(self) -> int:
        """Number of recordings whose scores were removed because they are of another model."""
        return self._n_discarded

    def sources(self) -> dict[str, Source]:
        """Return the source of each stored recording."""
        with self._errors():
            rows = self._database.execute("SELECT recording_id, source, state FROM recording")
            return {recording_id: Source(*source) for recording_id, *source in rows}

    def close(self) -> None:
        """Close the file."""
        with self._errors():
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write what is added in the block all at once, which takes less time than one by one."""
        with self._errors():
            self._database.execute("BEGIN")
        yield
        with self._errors():
            self._database.execute("COMMIT")

    def merge(self, file: Path) -> None:
        """Add the recordings in the file of another store, unless it is damaged or of another model."""
        try:
            self.open_existing(file, model=self.model, n_species=self.n_species).close()
        except UserError:
            return
        with self._errors():
            self._database.execute("ATTACH DATABASE ? AS other", (str(file),))
            try:
                self._database.execute(
                    "INSERT OR REPLACE INTO recording SELECT * FROM other.recording ORDER BY rowid"
                )
            finally:
                self._database.execute("DETACH DATABASE other")

    def add(self, recording_id: str, source: Source, prediction: Prediction) -> None:
        """Store a recording."""
        scores = prediction.scores
        arrays = (
            scores.segments.astype("<f8"),
            scores.first.astype("<i8"),
            scores.windows.astype("<f8"),
            scores.start.astype("<f8"),
        )
        size = prediction.sr, prediction.duration
        row = (recording_id, *source, *size, *prediction.recorded, scores.length, scores.duration)
        with self._errors():
            self._database.execute(
                f"INSERT OR REPLACE INTO recording VALUES ({', '.join('?' * 15)})",
                (*row, *(array.tobytes() for array in arrays)),
            )

    def read(self, recording_id: str) -> Prediction | None:
        """Return a recording; None if it is not stored."""
        with self._errors():
            row = self._database.execute(
                "SELECT * FROM recording WHERE recording_id = ?", (recording_id,)
            ).fetchone()
        if row is None:
            return None
        _, _, _, sr, duration, *recorded, length, end, segments, first, windows, start = row
        scores = ScoredWindows(
            segments=np.frombuffer(segments, "<f8").reshape(-1, self.n_species),
            first=np.frombuffer(first, "<i8"),
            windows=np.frombuffer(windows, "<f8").reshape(-1, self.n_species),
            start=np.frombuffer(start, "<f8"),
            length=length,
            duration=end,
        )
        return Prediction(scores, _site_time(*recorded), sr, duration)

    def read_segments(self, recording_id: str) -> np.ndarray:
        """Return the scores of a recording's segments, (n_segments, n_species); none if it is not stored."""
        with self._errors():
            row = self._database.execute(
                "SELECT segments FROM recording WHERE recording_id = ?", (recording_id,)
            ).fetchone()
        return np.frombuffer(b"" if row is None else row[0], "<f8").reshape(-1, self.n_species)

    def read_sample_rates(self) -> dict[str, int]:
        """Return the sample rate of each stored recording, Hz."""
        with self._errors():
            return dict(self._database.execute("SELECT recording_id, sr FROM recording"))

    def remove(self, recording_ids: Collection[str]) -> None:
        """Remove recordings."""
        with self._errors():
            self._database.execute("BEGIN")
            self._database.executemany(
                "DELETE FROM recording WHERE recording_id = ?", ((r,) for r in recording_ids)
            )
            self._database.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Let one thread at a time use the database, and raise UserError for its errors."""
        try:
            with self._lock:
                yield
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self.file}: cannot be read or written ({error}); check disk space and permissions, or "
                f"delete the file to score all recordings again"
            ) from error


def _site_time(site: str, start: str, latitude: float | None, longitude: float | None) -> SiteTime:
    """Return the stored site and time; SQLite stores nan as NULL."""
    nan = float("nan")
    return SiteTime(
        site, start, nan if latitude is None else latitude, nan if longitude is None else longitude
    )
