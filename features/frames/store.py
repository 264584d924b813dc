"""Frames on disk, computed once per recording and settings."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from features.common.files import digest, read_arrays, read_each, replacing, write_arrays
from features.common.parallel import on_workers
from features.data.audio import AudioError, Clip, Recording, source_of, validate_samples
from features.frames.frames import Frames, pack
from features.frames.spectral import Spectra, SpectralSettings, compute_frames

VERSION = 3  # increase it if the same audio gives different frames, or the same frames different columns
GROUP = 16  # blocks of the transform in one block of packed frames, which is 82 s long by default


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
    audio has changed or the file is damaged, the frames are computed again. Files are written and read in
    blocks, so the memory does not depend on the length of a recording, except that of `load`.

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
            Name of the part of the data set, such as "train".
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
        is_current = on_workers(_is_current, files, n_jobs)
        missing = [r for r, current in zip(recordings, is_current, strict=True) if not current]
        if not missing:
            return {}
        arguments = [(recordings[r], self._file(r, split), self.settings) for r in missing]
        errors = on_workers(_compute_file, arguments, n_jobs)
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
        return Frames.of_packed(np.concatenate(list(self.packed(recording_id, split))), self.settings)

    def packed(self, recording_id: str, split: str) -> Iterator[np.ndarray]:
        """Yield the packed frames of a recording in blocks; `compute` must have been called for it."""
        return _stored_blocks(self._file(recording_id, split))

    def extent(self, recording_id: str, split: str) -> Extent:
        """Return the size of a recording; `compute` must have been called for it."""
        stored = read_arrays(self._file(recording_id, split), "n_frames", "duration", "sr")
        return Extent(int(stored["n_frames"]), float(stored["duration"]), int(stored["sr"]))

    def _file(self, recording_id: str, split: str) -> Path:
        return self.folder / split / f"{recording_id}.npz"


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
    return Frames.of_packed(np.concatenate(list(packed_frames(path, settings))), settings)


def packed_frames(path: Path, settings: SpectralSettings) -> Iterator[np.ndarray]:
    """Yield the packed frames of an audio file in blocks; parameters and errors as in `frames_of`."""
    recording = Recording(path)
    return _packed(recording.blocks(), recording.sr, settings)


def packed_frames_of_samples(y: np.ndarray, sr: int, settings: SpectralSettings) -> Iterator[np.ndarray]:
    """Yield the packed frames of a recording in memory, equal to those of a file with the same samples.

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
    >>> [block.shape for block in packed_frames_of_samples(y, 32_000, SpectralSettings())]
    [(51, 71)]
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
    return _packed([y.astype(np.float32, copy=False)], sr, settings)


def _is_current(audio: Path | Clip, file: Path) -> bool:
    """Return whether a file has all frames of the audio; false if it is missing or damaged."""
    if not file.exists():
        return False
    try:
        stored = read_arrays(file, "source", "n_frames", "duration", "sr")
        if str(stored["source"]) != source_of(audio):
            return False
        return sum(map(len, _stored_blocks(file))) == int(stored["n_frames"])
    except (LookupError, TypeError, ValueError, AudioError):
        return False


def _compute_file(audio: Path | Clip, file: Path, settings: SpectralSettings) -> AudioError | None:
    """Write the frames of a recording; return the error if it cannot be decoded."""
    try:
        source, recording = source_of(audio), Recording(audio)
        with replacing(file, unique=True) as temporary:
            write_arrays(temporary, _stored_arrays(recording, source, settings))
    except AudioError as error:
        return error
    return None


def _stored_arrays(
    recording: Recording, source: str, settings: SpectralSettings
) -> Iterator[tuple[str, ArrayLike]]:
    """Yield the names and arrays of a file of the store."""
    n_blocks = n_frames = 0
    for block in _packed(recording.blocks(), recording.sr, settings):
        yield f"frames{n_blocks}", block
        n_blocks += 1
        n_frames += len(block)
    extent = Extent(n_frames, recording.n_samples / recording.sr, recording.sr)
    yield from {"source": source, "n_blocks": n_blocks, **extent._asdict()}.items()


def _stored_blocks(file: Path) -> Iterator[np.ndarray]:
    """Return the blocks of packed frames in a file of the store."""
    arrays = read_each(file, chain(["n_blocks"], (f"frames{k}" for k in count())))
    return islice(arrays, int(next(arrays)))


def _packed(blocks: Iterable[np.ndarray], sr: int, settings: SpectralSettings) -> Iterator[np.ndarray]:
    spectra = compute_frames(blocks, sr, settings)
    while group := list(islice(spectra, GROUP)):
        yield pack(Spectra(*map(np.concatenate, zip(*group, strict=True))))
