"""`PredictionStore`: scores of new recordings on disk, so that an interrupted `predict` can continue."""

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from features.common.errors import UserError
from features.data.metadata import SiteTime
from pipelines.core.detections import ScoredWindows

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS output (file TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS recording (
    recording_id TEXT PRIMARY KEY, source TEXT, sr INTEGER, duration REAL,
    site TEXT, start TEXT, latitude REAL, longitude REAL,
    length REAL, end REAL, segments BLOB, first BLOB, windows BLOB, window_start BLOB
);
"""
VERSION = "1"  # increase it when the tables change


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
        self.n_species = n_species
        self._lock = threading.Lock()
        with self._errors():
            self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            self._database.executescript(SCHEMA)
            stored = self._database.execute("SELECT value FROM settings WHERE name = 'model'").fetchone()
            if stored != (f"{VERSION}-{model}",):
                self._database.execute("DELETE FROM recording")
                self._database.execute(
                    "INSERT OR REPLACE INTO settings VALUES ('model', ?)", (f"{VERSION}-{model}",)
                )

    def sources(self) -> dict[str, str]:
        """Return what identifies the audio of each stored recording, as given to `add`."""
        with self._errors():
            return dict(self._database.execute("SELECT recording_id, source FROM recording"))

    def add(self, recording_id: str, source: str, prediction: Prediction) -> None:
        """Store a recording; `source` identifies its audio."""
        scores = prediction.scores
        arrays = (
            scores.segments.astype("<f8"),
            scores.first.astype("<i8"),
            scores.windows.astype("<f8"),
            scores.start.astype("<f8"),
        )
        size = prediction.sr, prediction.duration
        row = (recording_id, source, *size, *prediction.recorded, scores.length, scores.duration)
        with self._errors():
            self._database.execute(
                f"INSERT OR REPLACE INTO recording VALUES ({', '.join('?' * 14)})",
                (*row, *(array.tobytes() for array in arrays)),
            )

    def read(self, recording_id: str) -> Prediction:
        """Return a stored recording."""
        with self._errors():
            _, _, sr, duration, *recorded, length, end, segments, first, windows, start = (
                self._database.execute(
                    "SELECT * FROM recording WHERE recording_id = ?", (recording_id,)
                ).fetchone()
            )
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
        """Return the scores of a stored recording's segments, (n_segments, n_species)."""
        with self._errors():
            (segments,) = self._database.execute(
                "SELECT segments FROM recording WHERE recording_id = ?", (recording_id,)
            ).fetchone()
        return np.frombuffer(segments, "<f8").reshape(-1, self.n_species)

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

    def replace_outputs(self, folder: Path, files: Collection[Path]) -> None:
        """Remember the files that a call has written to `folder`, and remove those of earlier calls.

        Parameters
        ----------
        folder : output folder.
        files : paths relative to the folder.
        """
        current = {file.as_posix() for file in files}
        with self._errors():
            before = {file for (file,) in self._database.execute("SELECT file FROM output")}
            for file in sorted(before - current):
                (folder / file).unlink(missing_ok=True)
                _remove_empty(folder, (folder / file).parent)
            self._database.execute("BEGIN")
            self._database.execute("DELETE FROM output")
            self._database.executemany("INSERT INTO output VALUES (?)", ((file,) for file in sorted(current)))
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


def _remove_empty(root: Path, folder: Path) -> None:
    """Remove a folder below `root` and its parents as far as they are empty."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
