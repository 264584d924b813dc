"""Decode and mix down, block by block."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from features.common.errors import UserError

BLOCK = 1 << 22  # samples decoded at a time: a minute at 48 kHz is one block, ten hours fit into memory
UNKNOWN_SIZE = 0xFFFF_F000  # a WAV that was written to a pipe says this or more of its own size
LOUDEST = 1e9  # times full scale; the power of far more is none of float32
MP3_SLACK = 0.05  # an MP3 without an index states its length by a guess


class AudioError(UserError):
    """A recording that cannot be turned into samples."""


class Recording:
    """An audio file's samples, mixed down to one channel.

    Parameters
    ----------
    path : a FLAC, WAV, OGG or MP3 file of any rate, length and channel count.

    Attributes
    ----------
    sr : int, Hz.
    n_samples : int, samples decoded so far.

    Raises
    ------
    AudioError
        The file cannot be decoded, ends before the length that it states, holds no samples, or holds NaN,
        infinity or a multiple of full scale that no recorder writes. A recording is never replaced by
        silence, nor a part taken for the whole. (An OGG file does not state its length.)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_samples = 0
        try:
            self._file = soundfile.SoundFile(path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise self._undecodable(error) from error
        self.sr = self._file.samplerate

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples in blocks of (n,) float32, full scale at 1."""
        with self._file as file:
            self._check_stated_size(file.extra_info)
            while True:
                try:
                    y = file.read(max(BLOCK // file.channels, 1), dtype="float32", always_2d=True)
                except (soundfile.LibsndfileError, OSError) as error:
                    raise self._undecodable(error) from error
                if len(y) == 0:
                    break
                self.n_samples += len(y)
                if not (y.min() >= -LOUDEST and y.max() <= LOUDEST):  # nor is NaN
                    raise AudioError(
                        f"{self.path}: holds samples of NaN, infinity or over {LOUDEST:g} times full scale; "
                        f"replace or remove the file"
                    )
                yield y[:, 0] if y.shape[1] == 1 else y.mean(axis=1)
            if self.n_samples == 0:
                raise AudioError(f"{self.path}: holds no samples; replace or remove the file")
            slack = MP3_SLACK if file.format == "MP3" else 0
            if self.n_samples < (1 - slack) * file.frames:
                raise self._cut(file.frames, self.n_samples, "samples")

    def _check_stated_size(self, log: str) -> None:
        """Raise AudioError where libsndfile's log says that a WAV file states more bytes than it has."""
        found = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
        if found:
            stated, there = map(int, found.groups())
            if there < stated < UNKNOWN_SIZE:
                raise self._cut(stated, there, "bytes")

    def _cut(self, stated: int, there: int, unit: str) -> AudioError:
        return AudioError(
            f"{self.path}: is cut short ({there} of {stated} {unit}); copy it again, or remove the file"
        )

    def _undecodable(self, error: Exception) -> AudioError:
        reason = str(error).rstrip(".").rsplit(": ", 1)[-1]
        return AudioError(f"{self.path}: cannot be decoded ({reason}); replace or remove the file")
