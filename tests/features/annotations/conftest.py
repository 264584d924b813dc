"""Fixtures of the tests of label files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from tests.conftest import tone

WriteSeason = Callable[..., dict[str, Path]]


@pytest.fixture
def season(tmp_path: Path) -> WriteSeason:
    """Return a function that writes recordings of 10 s and 16 kHz, and returns the file of each id."""

    def write(*ids: str, suffix: str = ".wav") -> dict[str, Path]:
        recordings = {recording_id: tmp_path / "season" / f"{recording_id}{suffix}" for recording_id in ids}
        for k, path in enumerate(recordings.values()):
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(500 * (k + 1), 10.0, 16_000, k), 16_000)
        return recordings

    return write
