"""Frames on disk, computed once per recording and setting."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from features.common.files import digest, read_arrays, replacing
from features.common.parallel import in_parallel
from features.data.audio import AudioError, Recording
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, compute_frames

VERSION = 2  # raise it when the same settings give other frames, or frames other columns


class FrameStore:
    """The frames of a data set's recordings, one file each, in float16.

    A file belongs to the settings, in whose digest's folder it lies, and to one state of the
    audio file, whose size and time of change it holds; anything else is computed anew. float16
    steps by at most 0.06 dB at these levels.

    Parameters
    ----------
    folder : where the files go; one folder serves any number of settings.
    """

    def __init__(self, folder: Path, settings: SpectralSettings) -> None:
        self.settings = settings
        self.folder = folder / digest(VERSION, settings)

    def compute(
        self, recordings: Mapping[str, Path], split: str, n_jobs: int, strict: bool = False
    ) -> dict[str, str]:
        """Compute the frames that are not there yet; what a killed run had done stays done.

        Parameters
        ----------
        strict : raise AudioError for the first recording that cannot be decoded, in place of going on.

        Returns
        -------
        dict of recording id -> why it cannot be decoded.
        """
        missing = [
            recording_id
            for recording_id, path in recordings.items()
            if not self._is_current(path, self._file(recording_id, split))
        ]
        if not missing:
            return {}
        arguments = [(recordings[r], self._file(r, split), self.settings) for r in missing]
        errors = in_parallel(_compute_file, arguments, n_jobs)
        failed = {}
        progress = tqdm(errors, desc=f"features of {split}", total=len(missing), unit="recording")
        for recording_id, error in zip(missing, progress, strict=True):
            if error is not None:
                if strict:
                    raise error
                failed[recording_id] = str(error)
        return failed

    def load(self, recording_id: str, split: str) -> Frames:
        """Return the frames of a recording that `compute` has been called for."""
        stored = read_arrays(self._file(recording_id, split), "frames")
        return _unpack(stored["frames"], self.settings)

    def extent(self, recording_id: str, split: str) -> tuple[int, float]:
        """Return a recording's number of frames and its duration in seconds."""
        stored = read_arrays(self._file(recording_id, split), "n_frames", "duration")
        return int(stored["n_frames"]), float(stored["duration"])

    def _file(self, recording_id: str, split: str) -> Path:
        return self.folder / split / f"{recording_id}.npz"

    @staticmethod
    def _is_current(path: Path, file: Path) -> bool:
        if not file.exists():
            return False
        try:
            return np.array_equal(read_arrays(file, "source")["source"], _source(path))
        except ValueError:  # no file of ours
            return False


def _source(path: Path) -> np.ndarray:
    state = os.stat(path)
    return np.array([state.st_size, state.st_mtime_ns], np.int64)


def frames_of(path: Path, settings: SpectralSettings) -> Frames:
    """Return the frames of an audio file, as a store gives them back."""
    stored, _ = _read(path, settings)
    return _unpack(stored, settings)


def _compute_file(path: Path, file: Path, settings: SpectralSettings) -> AudioError | None:
    """Write the frames of an audio file; return why it cannot be decoded, if so."""
    source = _source(path)
    try:
        stored, duration = _read(path, settings)
    except AudioError as error:
        return error
    with replacing(file) as temporary:
        np.savez(temporary, frames=stored, n_frames=len(stored), duration=duration, source=source)
    return None


def _read(path: Path, settings: SpectralSettings) -> tuple[np.ndarray, float]:
    """Return the (n_frames, n_mels + n_bands + 1) float16 frames of an audio file, and its duration."""
    recording = Recording(path)
    frames = compute_frames(recording.blocks(), recording.sr, settings)
    stored = np.concatenate(frames, axis=1).astype(np.float16)
    return stored, recording.n_samples / recording.sr


def _unpack(stored: np.ndarray, settings: SpectralSettings) -> Frames:
    frames = stored.astype(np.float32)
    return Frames.of(frames[:, : settings.n_mels], frames[:, settings.n_mels :])
