"""Frames on disk, computed once per recording and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from features.common.files import digest, read_arrays, replacing
from features.common.parallel import in_parallel
from features.data.audio import AudioError, Clip, Recording, source_of, validate_samples
from features.frames.frames import Frames
from features.frames.spectral import Spectra, SpectralSettings, compute_frames

VERSION = 3  # increase it if files have other contents, or the same frames give different columns


class Extent(NamedTuple):
    """Size of a recording.

    Attributes
    ----------
    n_frames : int
    duration : float
        Seconds.
    sr : int
        Sample rate of the audio file, Hz.
    """

    n_frames: int
    duration: float
    sr: int


class FrameStore:
    """The frames of a data set's recordings on disk, as one float16 file per recording.

    Each combination of settings has its own subfolder. Each file also contains a digest of the audio; if the
    audio has changed or the file is damaged, the frames are computed again. In float16, levels have a
    resolution of 0.06 dB or better.

    Parameters
    ----------
    folder : Path
        Folder for the files. Stores with different settings can use the same folder.
    settings : SpectralSettings

    Examples
    --------
    >>> import tempfile, soundfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> soundfile.write(folder / "a.wav", np.zeros(16_000), 16_000)
    >>> store = FrameStore(folder / "frames", SpectralSettings())
    >>> store.compute({"a": folder / "a.wav"}, "train", n_jobs=1)
    {}
    >>> store.load("a", "train").levels.shape
    (51, 64)
    >>> store.extent("a", "train")
    Extent(n_frames=51, duration=1.0, sr=16000)
    """

    def __init__(self, folder: Path, settings: SpectralSettings) -> None:
        self.settings = settings
        self.folder = folder / digest(VERSION, settings)

    def compute(
        self, recordings: Mapping[str, Path | Clip], split: str, n_jobs: int, *, strict: bool = False
    ) -> dict[str, str]:
        """Compute the frames of recordings that are missing in the store or have changed.

        Parameters
        ----------
        recordings : mapping of str to Path or Clip
            Audio of each recording id.
        split : str
            "train" or "test".
        n_jobs : int
            Number of threads.
        strict : bool
            Whether to raise an error for the first recording that cannot be decoded.

        Returns
        -------
        dict of str to str
            Error message for each recording id that cannot be decoded.

        Raises
        ------
        AudioError
            A recording cannot be decoded and `strict` is true.
        """
        files = ((audio, self._file(recording_id, split)) for recording_id, audio in recordings.items())
        is_current = in_parallel(self._is_current, files, n_jobs)
        missing = [r for r, current in zip(recordings, is_current, strict=True) if not current]
        if not missing:
            return {}
        arguments = [(recordings[r], self._file(r, split), self.settings) for r in missing]
        errors = in_parallel(_compute_file, arguments, n_jobs)
        failed = {}
        progress = tqdm(errors, desc=f"frames of {split}", total=len(missing), unit="recording")
        for recording_id, error in zip(missing, progress, strict=True):
            if error is not None:
                if strict:
                    raise error
                failed[recording_id] = str(error)
        return failed

    def load(self, recording_id: str, split: str) -> Frames:
        """Return the frames of a recording; `compute` must have been called for it."""
        stored = read_arrays(self._file(recording_id, split), "frames")
        return _unpack(stored["frames"], self.settings)

    def extent(self, recording_id: str, split: str) -> Extent:
        """Return the size of a recording; `compute` must have been called for it."""
        stored = read_arrays(self._file(recording_id, split), "n_frames", "duration", "sr")
        return Extent(int(stored["n_frames"]), float(stored["duration"]), int(stored["sr"]))

    def _file(self, recording_id: str, split: str) -> Path:
        return self.folder / split / f"{recording_id}.npz"

    @staticmethod
    def _is_current(audio: Path | Clip, file: Path) -> bool:
        """Return whether a file has all frames of the audio; false if it is missing or damaged."""
        if not file.exists():
            return False
        try:
            stored = read_arrays(file)
            whole = len(stored["frames"]) == stored["n_frames"]
            return bool(whole) and str(stored["source"]) == source_of(audio)
        except (LookupError, TypeError, ValueError, AudioError):
            return False


def frames_of(path: Path, settings: SpectralSettings) -> Frames:
    """Return the frames of an audio file, equal to those that a `FrameStore` returns.

    Parameters
    ----------
    path : Path
        A FLAC, WAV, OGG or MP3 file.
    settings : SpectralSettings

    Raises
    ------
    AudioError
        The file cannot be decoded.

    Examples
    --------
    >>> import tempfile, soundfile
    >>> path = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 32_000), 32_000)
    >>> frames = frames_of(path, SpectralSettings())
    >>> len(frames), frames.levels.shape
    (51, (51, 64))
    """
    stored, _ = _read(path, settings)
    return _unpack(stored, settings)


def frames_of_samples(y: np.ndarray, sr: int, settings: SpectralSettings) -> Frames:
    """Return the frames of a recording in memory, equal to those of an audio file with the same samples.

    Parameters
    ----------
    y : np.ndarray, shape (n_samples,)
        Mono samples, full scale at 1.
    sr : int
        Sample rate, Hz.
    settings : SpectralSettings

    Raises
    ------
    AudioError
        The array is not one-dimensional or not floating-point, is empty, or contains NaN, infinite or
        implausibly large samples; or the sample rate is not above 0.

    Examples
    --------
    >>> y = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 32_000)
    >>> frames_of_samples(y, 32_000, SpectralSettings()).levels.shape
    (51, 64)
    """
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.floating):
        raise AudioError(f"array of {y.dtype}: samples must be floating-point; divide integers by full scale")
    if sr <= 0:
        raise AudioError(f"sample rate {sr} Hz is not above 0; give the sample rate of the array")
    if y.ndim != 1 or len(y) == 0:
        raise AudioError(
            f"array of shape {y.shape}: audio must be one-dimensional and have samples; mix it down"
        )
    validate_samples(y, f"array of shape {y.shape}")
    return _unpack(_pack(compute_frames([y.astype(np.float32, copy=False)], sr, settings)), settings)


def _compute_file(audio: Path | Clip, file: Path, settings: SpectralSettings) -> AudioError | None:
    """Write the frames of a recording; return the error if it cannot be decoded."""
    try:
        source = source_of(audio)
        stored, extent = _read(audio, settings)
    except AudioError as error:
        return error
    with replacing(file) as temporary:
        np.savez(temporary, frames=stored, source=source, **extent._asdict())
    return None


def _read(audio: Path | Clip, settings: SpectralSettings) -> tuple[np.ndarray, Extent]:
    """Return the packed frames of a recording, and its size."""
    recording = Recording(audio)
    stored = _pack(compute_frames(recording.blocks(), recording.sr, settings))
    return stored, Extent(len(stored), recording.n_samples / recording.sr, recording.sr)


def _pack(spectra: Spectra) -> np.ndarray:
    """Return log-mel bands and contrast side by side in float16, shape (n_frames, n_mels + n_bands + 1)."""
    return np.concatenate(spectra, axis=1).astype(np.float16)


def _unpack(stored: np.ndarray, settings: SpectralSettings) -> Frames:
    frames = stored.astype(np.float32)
    return Frames.of(frames[:, : settings.n_mels], frames[:, settings.n_mels :])
