"""Fixtures of the tests of label files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from tests.conftest import tone

WriteSeason = Callable[..., Path]


@pytest.fixture
def season(tmp_path: Path) -> WriteSeason:
    """Return a function that writes recordings of 10 s and 16 kHz to a folder, and returns the folder."""

    def write(*ids: str, folder: str = "season") -> Path:
        for k, recording_id in enumerate(ids):
            path = tmp_path / folder / f"{recording_id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(500 * (k + 1), 10.0, 16_000, k), 16_000)
        return tmp_path / folder

    return write
