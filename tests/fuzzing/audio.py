"""Audio files with changed bytes, and containers that are cut, have a hole, or are put together."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from features.common.errors import UserError
from features.frames.spectral import SpectralSettings
from features.frames.store import frames_of
from tests.conftest import forget_length, tone
from tests.fuzzing.mutation import check_message, mutated

SETTINGS = SpectralSettings()
FORMATS = {".flac": "PCM_16", ".wav": "FLOAT", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
RATES = (8_000, 16_000, 32_000, 44_100, 48_000)
CONTAINERS: dict[str, dict[str, Any]] = {
    "x.wav": {},
    "rf64.wav": {"format": "RF64"},
    "aiff.wav": {"format": "AIFF"},
    "au.wav": {"format": "AU"},
    "w64.wav": {"format": "W64"},
    "x.mp3": {},
    "variable.mp3": {"compression_level": 0.5, "bitrate_mode": "VARIABLE"},
    "x.ogg": {},
    "opus.ogg": {"format": "OGG", "subtype": "OPUS"},
    "x.flac": {},
    "streamed.flac": {},
}


def write_container(folder: Path, name: str, y: np.ndarray, sr: int) -> Path:
    """Write samples to a container of `CONTAINERS`."""
    path = folder / name
    soundfile.write(path, y, sr, **CONTAINERS[name])
    if name == "streamed.flac":
        forget_length(path)
    return path


def try_audio(folder: Path, rng: np.random.Generator) -> str:
    """Read the frames of a mutated audio file; return the outcome, "read" or "rejected"."""
    suffix = str(rng.choice(list(FORMATS)))
    sr = int(rng.choice(RATES))
    y = tone(1000, rng.uniform(0, 3), sr, int(rng.integers(99)))
    y = np.stack([y] * rng.integers(1, 3), axis=1)
    if suffix == ".wav" and len(y) and rng.random() < 0.3:
        y[rng.integers(len(y))] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 1e-40])
    file = folder / f"x{suffix}"
    soundfile.write(file, y, sr, subtype=FORMATS[suffix])
    file.write_bytes(mutated(file.read_bytes(), rng))
    try:
        frames = frames_of(file, SETTINGS)
    except UserError as error:
        return check_message(error, file)
    assert np.isfinite(frames.levels).all()
    assert np.isfinite(frames.contrast).all()
    return "read"


def try_container(folder: Path, rng: np.random.Generator) -> str:
    """Read a container that is cut, has a hole or follows another one: it is read rightly, or rejected.

    Bytes after the last sample, for example tags, do not matter, so a file may be read that lost only these.
    """
    name, sr = str(rng.choice(list(CONTAINERS))), 48_000
    y = 0.1 * np.random.default_rng(int(rng.integers(99))).standard_normal(int(rng.uniform(0.5, 3) * sr))
    path = write_container(folder, name, y, sr)
    content, expected = path.read_bytes(), frames_of(path, SETTINGS)
    at = int(rng.integers(100, len(content)))
    match rng.integers(3):
        case 0:
            path.write_bytes(content[:at])
        case 1:
            n = int(rng.integers(1, min(4000, len(content) - at) + 1))
            path.write_bytes(content[:at] + bytes(n if rng.random() < 0.5 else 0) + content[at + n :])
        case _:
            path.write_bytes(content + content)
    try:
        found = frames_of(path, SETTINGS)
    except UserError as error:
        return check_message(error, path)
    if path.read_bytes().startswith(content) and len(found) == 2 * len(expected) - 1:
        return "read both"
    if name.endswith((".wav", ".mp3")) and len(found) == len(expected):
        return "read"  # samples without a checksum can have any value
    assert len(found) == len(expected), f"{name}: {len(found)} of {len(expected)} frames"
    np.testing.assert_array_equal(found.log_mel, expected.log_mel)
    return "read"
