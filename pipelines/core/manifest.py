"""`manifest.json`: what a run was trained on, and the size and SHA-256 of each of its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from features.common.files import digest, read_json, sha256, write_json

FILE = "manifest.json"
NOT_IDENTIFYING = ("metrics.json",)
"""Files that differ between two runs with the same models and scores, because they contain times."""


class FileState(NamedTuple):
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a run was trained on, and the files that belong to it.

    CSV files are not listed: they are written for people, who may edit them, and are never read.

    Attributes
    ----------
    data : digest of each part of the data set, see `features.data.identity`.
    files : size and SHA-256 of each file, by name.
    written : date and time at which the run was written, UTC. It differs between any two runs.
    """

    data: Mapping[str, str]
    files: Mapping[str, FileState]
    written: str = ""

    @classmethod
    def of(cls, folder: Path, data: Mapping[str, str]) -> Self:
        """Return the manifest of the files in a folder."""
        states = {
            path.name: FileState(path.stat().st_size, sha256(path))
            for path in sorted(folder.iterdir())
            if path.is_file() and path.suffix != ".csv" and path.name != FILE
        }
        return cls(data, states, datetime.now(UTC).isoformat())

    @property
    def id(self) -> str:
        """Text that identifies the run: its data, settings, model and scores."""
        files = {name: state for name, state in self.files.items() if name not in NOT_IDENTIFYING}
        return digest(sorted(self.data.items()), sorted(files.items()))

    def save(self, folder: Path) -> None:
        """Write the manifest to a folder."""
        files = {name: state._asdict() for name, state in self.files.items()}
        write_json(folder / FILE, {"written": self.written, "data": self.data, "files": files})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the manifest in a folder; an error of `runs.INVALID` if it is missing or not valid."""
        stored = read_json(folder / FILE)
        data, files = stored["data"], stored["files"]
        if not all(isinstance(value, str) for value in data.values()):
            raise TypeError(f"{FILE}: data must contain texts")
        states = {name: FileState(int(f["size"]), str(f["sha256"])) for name, f in files.items()}
        return cls(data, states, str(stored["written"]))

    def validate(self, folder: Path) -> None:
        """Raise ValueError if a file of the run is missing or has changed since the run was written."""
        for name, state in self.files.items():
            file = folder / name
            if Path(name).name != name or not file.is_file():
                raise ValueError(f"{name} is missing")
            if file.stat().st_size != state.size or sha256(file) != state.sha256:
                raise ValueError(f"{name} has changed since the run was written")

    def differences(self, data: Mapping[str, str]) -> list[str]:
        """Return the parts of a data set that differ from those the run was trained on."""
        return [part for part in data if self.data.get(part) != data[part]]
