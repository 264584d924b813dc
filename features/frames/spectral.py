"""One short-time Fourier transform, and the frames that are computed from it.

Every function agrees with librosa's of the same name at the same settings; unlike librosa's, they
share one transform, are computed block by block in float32, and put time first.

A recording is transformed at its own sample rate, in frames of the same seconds: the bins that they
share are then the same frequencies, and resampling, which costs more than the transform, is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple

import librosa
import numpy as np
import scipy.fft
import scipy.signal
import soxr

BLOCK = 256  # frames transformed at a time: 256 spectra stay in a laptop's cache


@dataclass(frozen=True)
class SpectralSettings:
    """Settings of the frames, named as librosa names them.

    They are those of a recording at `sr`; at another rate a frame has as many seconds, and what
    lies above `sr` / 2 is left out.
    """

    sr: int = 32_000
    """Sample rate, Hz. Keeps 16 kHz: one of RFCX's species calls up to 13.7 kHz."""
    n_fft: int = 1024
    """Samples of a frame, 32 ms."""
    hop_length: int = 640
    """Samples from frame to frame, 20 ms."""
    n_mels: int = 64
    fmin: float = 50.0
    """Lower edge of the lowest mel band, Hz."""
    fmax: float = 16_000.0
    """Upper edge of the highest mel band, Hz."""
    n_mfcc: int = 20
    n_bands: int = 6
    """Octaves of the spectral contrast, which has one row more."""
    contrast_fmin: float = 200.0
    """Upper edge of the lowest contrast band, Hz."""
    quantile: float = 0.02
    """Share of a contrast band's bins that make its peak and its valley."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sr / self.hop_length


class Spectra(NamedTuple):
    """What a recording's transform gives, time first.

    log_mel : (n_frames, n_mels) float32, dB re full-scale power.
    contrast : (n_frames, n_bands + 1) float32, dB.
    """

    log_mel: np.ndarray
    contrast: np.ndarray


def compute_frames(blocks: Iterable[np.ndarray], sr: int, settings: SpectralSettings) -> Spectra:
    """Return the log-mel bands and the spectral contrast of a recording.

    Parameters
    ----------
    blocks : (n,) float32 each, n_samples in all; how they are cut changes nothing.
    sr : sample rate, Hz. Levels do not depend on it; bands above sr / 2 are silent.

    Returns
    -------
    Spectra of 1 + n_samples // hop rows, where `hop` is settings.hop_length at `sr`; frame k is
    centred on sample k * hop, with zeros beyond the recording's ends, as in `librosa.stft`.
    """
    parts = [
        (_decibel(mel_bands(power, settings)), spectral_contrast(power, settings))
        for power in _power_spectra(blocks, sr, settings)
    ]
    log_mel, contrast = map(np.concatenate, zip(*parts, strict=True))
    return Spectra(log_mel, contrast)


def mel_bands(power: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Return the (n_frames, n_mels) power in the mel bands of (n_frames, 1 + n_fft // 2) power."""
    # Band by band most bins weigh nothing, so a few bands at a time and their own bins.
    return np.concatenate([power[:, bins] @ weights for bins, weights in _mel_groups(settings)], axis=1)


def mfcc(log_mel: np.ndarray, n_mfcc: int) -> np.ndarray:
    """Return (n_frames, n_mfcc) mel-frequency cepstral coefficients of (n_frames, n_mels) dB.

    The orthonormal DCT-II of Davis and Mermelstein (1980), as `librosa.feature.mfcc(S=...)`.
    """
    return scipy.fft.dct(log_mel, axis=1, norm="ortho")[:, :n_mfcc]


def spectral_contrast(power: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Return (n_frames, n_bands + 1) peak-to-valley contrast of (n_frames, 1 + n_fft // 2) power.

    dB between the mean magnitude of the strongest and of the weakest bins of each octave, after
    Jiang et al. (2002), "Music type classification by spectral contrast feature".
    """
    valley, peak = np.empty((2, len(power), settings.n_bands + 1), np.float32)
    for k, (band, n) in enumerate(_contrast_bands(settings)):
        # All of it: NumPy's sort has vector instructions, its partition of short rows has not.
        ordered = np.sort(power[:, band], axis=1)
        np.sqrt(ordered[:, :n]).mean(axis=1, out=valley[:, k])
        np.sqrt(ordered[:, -n:]).mean(axis=1, out=peak[:, k])
    return _decibel(peak) - _decibel(valley)


def mel_centres(settings: SpectralSettings) -> np.ndarray:
    """Return the (n_mels,) centre frequencies of the mel bands, Hz."""
    return mel_edges(settings)[1:-1]


def mel_edges(settings: SpectralSettings) -> np.ndarray:
    """Return the (n_mels + 2,) frequencies between which mel band k rises and falls: k to k + 2, Hz."""
    return librosa.mel_frequencies(settings.n_mels + 2, fmin=settings.fmin, fmax=settings.fmax)


def _power_spectra(blocks: Iterable[np.ndarray], sr: int, settings: SpectralSettings) -> Iterator[np.ndarray]:
    """Yield (<= BLOCK, 1 + n_fft // 2) float32 power of the centred, Hann-windowed frames of a recording."""
    if sr * settings.n_fft % settings.sr or sr * settings.hop_length % settings.sr:
        # A frame or a hop would not be whole samples, as at 44.1 kHz.
        blocks, sr = _resampled(blocks, sr, settings.sr), settings.sr
    n_fft, hop_length = (n * sr // settings.sr for n in (settings.n_fft, settings.hop_length))
    # A tone's magnitude grows with the samples of a frame; that is taken back.
    window = scipy.signal.get_window("hann", n_fft).astype(np.float32) * np.float32(settings.sr / sr)
    n_bins = 1 + settings.n_fft // 2
    for frames in _frames(blocks, n_fft, hop_length):
        for first in range(0, len(frames), BLOCK):
            spectrum = scipy.fft.rfft(frames[first : first + BLOCK] * window, axis=1)[:, :n_bins]
            power = spectrum.real**2 + spectrum.imag**2
            yield power if sr >= settings.sr else np.pad(power, ((0, 0), (0, n_bins - power.shape[1])))


def _frames(blocks: Iterable[np.ndarray], n_fft: int, hop_length: int) -> Iterator[np.ndarray]:
    """Yield (n, n_fft) views of a recording's centred frames, as many as each block completes."""
    margin = np.zeros(n_fft // 2, np.float32)
    waiting = margin
    for y in chain(blocks, [margin]):
        waiting = np.concatenate([waiting, y])
        if len(waiting) >= n_fft:
            frames = np.lib.stride_tricks.sliding_window_view(waiting, n_fft)[::hop_length]
            yield frames
            waiting = waiting[len(frames) * hop_length :]


def _resampled(blocks: Iterable[np.ndarray], sr: int, to: int) -> Iterator[np.ndarray]:
    """Yield the blocks at `to` Hz; those of one recording as if they were one."""
    resampler = soxr.ResampleStream(sr, to, 1, dtype="float32")
    for y in blocks:
        yield resampler.resample_chunk(y)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _decibel(power: np.ndarray) -> np.ndarray:
    # librosa's power_to_db with top_db=None: a click must not move the frames around it.
    return 10 * np.log10(np.maximum(power, 1e-10))


@lru_cache
def _mel_groups(settings: SpectralSettings) -> list[tuple[slice, np.ndarray]]:
    """Return librosa's Slaney-normalised mel filters, grouped: their bins, and (n_bins, n_filters)."""
    bank = librosa.filters.mel(
        sr=settings.sr, n_fft=settings.n_fft, n_mels=settings.n_mels, fmin=settings.fmin, fmax=settings.fmax
    )
    groups = []
    for filters in np.array_split(bank, 4):
        inside = np.flatnonzero(filters.any(axis=0))
        bins = slice(inside[0], inside[-1] + 1) if len(inside) else slice(0)
        groups.append((bins, np.ascontiguousarray(filters[:, bins].T, np.float32)))
    return groups


@lru_cache
def _contrast_bands(settings: SpectralSettings) -> list[tuple[slice, int]]:
    """Return for each contrast band its bins and how many of them make a peak or a valley.

    The edges follow librosa to the bin: a band begins one bin below its lower edge, ends one bin
    before its last, and the topmost runs on to the Nyquist frequency.
    """
    frequencies = librosa.fft_frequencies(sr=settings.sr, n_fft=settings.n_fft)
    edges = np.concatenate([[0.0], settings.contrast_fmin * 2.0 ** np.arange(settings.n_bands + 1)])
    bands = []
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = np.flatnonzero((frequencies >= low) & (frequencies <= high))
        start = inside[0] - 1 if k > 0 else inside[0]
        last = k == settings.n_bands
        stop = len(frequencies) if last else inside[-1] + 1
        n = max(int(np.rint(settings.quantile * (stop - start))), 1)
        bands.append((slice(start, stop if last else stop - 1), n))
    return bands
