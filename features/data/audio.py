"""Decoding of audio files, block by block, mixed down to mono."""

import math
import os
import re
import stat
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from features.common.errors import UserError
from features.common.files import digest, sha256
from features.data.containers import container_problem

BLOCK = 1 << 20  # samples decoded at a time; larger blocks do not fit into the cache and take longer
UNKNOWN_SIZE = 0xFFFF_F000  # bytes; a WAV file that was written to a pipe states at least this data size
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 2_000_000  # Hz; frames of other rates could need much memory
MAX_SAMPLES = 1 << 60  # libsndfile states more for a stream of unknown length
MAX_AMPLITUDE = 1e9  # times full scale; the power of much higher values overflows float32
# Share of the stated samples that can be missing: without an index, the length of an MP3 file is an estimate.
MP3_TOLERANCE = 0.05


class AudioError(UserError):
    """The error for audio that cannot be decoded or contains invalid samples."""


class _SequentialFile(soundfile.SoundFile):
    """An audio file that is read from start to end.

    `soundfile` seeks after each read if a file is seekable. At the end of a FLAC stream of unknown length,
    that fails.
    """

    def seekable(self) -> bool:
        return False


class Clip(NamedTuple):
    """A part of an audio file.

    Attributes
    ----------
    path : Path
        The audio file.
    start, end : float
        Start and end of the part, s.
    """

    path: Path
    start: float
    end: float


class Recording:
    """An audio file or a part of it, mixed down to mono.

    Parameters
    ----------
    audio : Path or Clip
        A FLAC, WAV, OGG or MP3 file with any sample rate, length and number of channels.

    Attributes
    ----------
    sr : int
        Sample rate, Hz.
    n_samples : int
        Number of samples decoded so far.

    Raises
    ------
    AudioError
        The file does not exist, cannot be decoded, is shorter than the length that it states, has an
        implausible sample rate, is damaged, contains no samples or several streams, or contains NaN, infinite
        or implausibly large samples. A damaged recording is never replaced by silence or shortened.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "silence.wav"
    >>> soundfile.write(path, np.zeros((16_000, 2)), 16_000)
    >>> recording = Recording(path)
    >>> y = np.concatenate(list(recording.blocks()))
    >>> recording.sr, y.shape
    (16000, (16000,))
    """

    def __init__(self, audio: Path | Clip) -> None:
        self.path, self._start, self._end = audio if isinstance(audio, Clip) else (audio, 0.0, math.inf)
        path = self.path
        self.n_samples = 0
        state_of(path)  # opening a named pipe would wait for ever
        try:
            self._file = _SequentialFile(path)
        except (soundfile.LibsndfileError, OSError) as error:
            try:  # libsndfile does not say why a file cannot be opened
                path.open("rb").close()
            except OSError as reason:
                raise _unreadable(path, reason) from error
            raise self._undecodable(error) from error
        self.sr = self._file.samplerate
        if not MIN_SAMPLE_RATE <= self.sr <= MAX_SAMPLE_RATE:
            self._file.close()
            raise AudioError(
                f"{path}: sample rate {self.sr} Hz is not between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE} "
                f"Hz; correct its header, or remove the file"
            )

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples in blocks of (n,) float32, with full scale at 1."""
        problem = _container_problem(self.path, state_of(self.path))
        if problem:
            raise AudioError(f"{self.path}: {problem}; copy it again, or remove the file")
        with self._file as file:
            self._validate_data_size(file.extra_info)
            stated = _stated_samples(file) - round(self._start * self.sr)
            wanted = math.inf
            if math.isfinite(self._end):
                wanted = stated = min(stated, round(self._end * self.sr) - round(self._start * self.sr))
            while self.n_samples < wanted:
                n = min(max(BLOCK // file.channels, 1), wanted - self.n_samples)
                try:
                    if self.n_samples == 0 and self._start:
                        file.seek(round(self._start * self.sr))
                    y = file.read(int(n), dtype="float32", always_2d=True)
                except (soundfile.LibsndfileError, OSError) as error:
                    raise self._undecodable(error) from error
                if len(y) == 0:
                    break
                self.n_samples += len(y)
                validate_samples(y, str(self.path))
                yield y[:, 0] if y.shape[1] == 1 else y.mean(axis=1)
            if self.n_samples == 0:
                raise AudioError(f"{self.path}: contains no samples; replace or remove the file")
            tolerance = MP3_TOLERANCE if file.format == "MP3" else 0
            if math.isfinite(stated) and self.n_samples < (1 - tolerance) * stated:
                raise self._truncated(int(stated), self.n_samples, "samples")

    def _validate_data_size(self, log: str) -> None:
        """Raise AudioError if libsndfile's log reports a file of another size than its header states."""
        # The size of the whole file in a WAV header is often wrong, that of its data is not.
        name = "data" if self._file.format in ("WAV", "WAVEX") else r"[\w ]+?"
        found = re.search(rf"^ *{name} *: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
        if found:
            stated, actual = map(int, found.groups())
            known = UNKNOWN_SIZE if self._file.format in ("WAV", "WAVEX") else MAX_SAMPLES
            if actual < stated < known:
                raise self._truncated(stated, actual, "bytes")
            if actual > stated and self._file.format == "W64":  # libsndfile reads what follows as samples
                raise AudioError(
                    f"{self.path}: contains {actual} bytes but states {stated}; copy it again, or remove the "
                    f"file"
                )

    def _truncated(self, stated: int, actual: int, unit: str) -> AudioError:
        return AudioError(
            f"{self.path}: truncated ({actual} of {stated} {unit}); copy it again, or remove the file"
        )

    def _undecodable(self, error: Exception) -> AudioError:
        reason = str(error).rstrip(".").rsplit(": ", 1)[-1]
        return AudioError(f"{self.path}: cannot be decoded ({reason}); replace or remove the file")


def stated_size(path: Path) -> tuple[int, float]:
    """Return the sample rate in Hz and the duration in s that an audio file states.

    A file that states no duration is decoded.

    Raises
    ------
    AudioError
        The file cannot be opened or, without a stated duration, not be decoded.
    """
    recording = Recording(path)
    with recording._file as file:
        n_samples = _stated_samples(file)
        if math.isinf(n_samples):
            n_samples = sum(map(len, recording.blocks()))
        return recording.sr, n_samples / recording.sr


def _stated_samples(file: soundfile.SoundFile) -> float:
    """Return the number of samples that a file states; infinity for a stream that does not state it."""
    return math.inf if file.frames > MAX_SAMPLES else file.frames


def warn_low_sample_rates(rates: Mapping[str, int], trained: int) -> None:
    """Warn if recordings have a lower sample rate than a model's training recordings.

    Parameters
    ----------
    rates : mapping of str to int
        Sample rate of each recording, Hz, by recording id.
    trained : int
        Sample rate of the training recordings, Hz.
    """
    low = {recording_id: sr for recording_id, sr in rates.items() if sr < trained}
    if low:
        lowest = min(low, key=low.__getitem__)
        warnings.warn(
            f"{len(low)} of {len(rates)} recordings have a lower sample rate than the training recordings "
            f"({trained} Hz), such as '{lowest}' with {low[lowest]} Hz; bands above {low[lowest] // 2} Hz "
            f"are silent in it, so species that call there are missed",
            stacklevel=2,
        )


def file_of(audio: Path | Clip) -> Path:
    """Return the path of an audio file or of the file of a clip."""
    return audio.path if isinstance(audio, Clip) else audio


def source_of(audio: Path | Clip) -> str:
    """Return text that identifies the content of a recording: a digest of its bytes and the times of a clip.

    Size, modification time and the first bytes are not enough: recorders on one schedule write files of equal
    names, sizes and times. Reading takes about a second per gigabyte.

    Raises
    ------
    AudioError
        The file does not exist or cannot be read.
    """
    path, *times = audio if isinstance(audio, Clip) else (audio,)
    return digest(_content(path, state_of(path)), *times)


def state_of(path: Path) -> str:
    """Return text that changes if a file is replaced or written, even if its size and times are set back.

    It also changes if a file is copied or moved, so only the content can show that two files differ.

    Raises
    ------
    AudioError
        The file does not exist, cannot be read, or is not a regular file.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(state.st_mode):
        raise AudioError(f"{path}: not a regular file; replace or remove it")
    return f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


@lru_cache(maxsize=1 << 16)  # the clips of a recording share its file
def _content(path: Path, state: str) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=1 << 16)
def _container_problem(path: Path, state: str) -> str:
    try:
        return container_problem(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> AudioError:
    if isinstance(error, FileNotFoundError):
        return AudioError(f"{path}: missing (moved, renamed or deleted); restore the file")
    return AudioError(f"{path}: cannot be read ({error.strerror or error}); check its permissions")


def validate_samples(y: np.ndarray, name: str) -> None:
    """Raise AudioError if samples are NaN, infinite or above `MAX_AMPLITUDE`.

    Parameters
    ----------
    y : np.ndarray
        At least one sample, full scale at 1.
    name : str
        Name of the audio, for the message.
    """
    if not (y.min() >= -MAX_AMPLITUDE and y.max() <= MAX_AMPLITUDE):  # also true for NaN
        raise AudioError(
            f"{name}: contains samples that are NaN, infinite or above {MAX_AMPLITUDE:g} times full scale; "
            f"replace or remove it"
        )
