"""Log-mel bands and spectral contrast from one short-time Fourier transform.

Log-mel bands, MFCC and spectral contrast equal those of librosa at the same settings. Unlike in librosa, they
share one transform, are computed block by block in float32, and have time as the first axis.

A recording is transformed at its own sample rate. Frames have the same duration at every sample rate, so
their frequency bins are the same, too. A recording is only resampled, which takes longer than the transform,
if frame or hop would not be a whole number of samples.
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

MIN_RANGE = 3  # minimum number of mel bands in a range; fewer would only fit calls of one exact pitch
BLOCK = 256  # frames transformed at a time; 256 spectra fit into the cache of a laptop's processor


@dataclass(frozen=True)
class SpectralSettings:
    """Settings of the frames, named as in librosa.

    `n_fft` and `hop_length` are numbers of samples at the sample rate `sr`. For a recording with a different
    sample rate, frames and hops have the same duration. Frequencies above `sr` / 2 are ignored.

    Examples
    --------
    >>> SpectralSettings().frame_rate
    50.0
    """

    sr: int = 32_000
    """Sample rate, Hz. The default includes 13.7 kHz, the highest frequency of an RFCX species."""
    n_fft: int = 1024
    """Samples per frame; the default is 32 ms."""
    hop_length: int = 640
    """Samples between successive frames; the default is 20 ms."""
    n_mels: int = 64
    fmin: float = 50.0
    """Lower edge of the lowest mel band, Hz."""
    fmax: float = 16_000.0
    """Upper edge of the highest mel band, Hz."""
    n_mfcc: int = 20
    n_bands: int = 6
    """Number of octave bands of the spectral contrast. One more band covers all frequencies below them."""
    contrast_fmin: float = 200.0
    """Upper edge of the lowest contrast band, Hz."""
    quantile: float = 0.02
    """Share of a contrast band's bins to average: the strongest for its peak, the weakest for its valley."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sr / self.hop_length


class Spectra(NamedTuple):
    """The result of `compute_frames`.

    Attributes
    ----------
    log_mel : np.ndarray, shape (n_frames, n_mels)
        float32 power in mel bands, dB re full scale.
    contrast : np.ndarray, shape (n_frames, n_bands + 1)
        float32 spectral contrast, dB.
    """

    log_mel: np.ndarray
    contrast: np.ndarray


def compute_frames(blocks: Iterable[np.ndarray], sr: int, settings: SpectralSettings) -> Iterator[Spectra]:
    """Yield the log-mel bands and the spectral contrast of a recording, at most `BLOCK` frames at a time.

    Parameters
    ----------
    blocks : iterable of np.ndarray
        The samples of the recording in successive float32 blocks of any length. The result does not depend on
        the lengths.
    sr : int
        Sample rate, Hz. It does not affect the levels, but bands above half of it are silent.
    settings : SpectralSettings

    Yields
    ------
    Spectra
        In total 1 + n_samples // hop frames, where hop is `settings.hop_length` converted to the sample rate
        `sr`. Frame k is centred on sample k * hop. As in `librosa.stft`, the recording is padded with zeros.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000).astype(np.float32)
    >>> settings = SpectralSettings()
    >>> parts = list(compute_frames([y], 48_000, settings))
    >>> sum(len(part.log_mel) for part in parts), parts[0].contrast.shape[1]
    (51, 7)
    >>> round(mel_centres(settings)[parts[0].log_mel.mean(axis=0).argmax()])
    1002
    """
    for power in _power_spectra(blocks, sr, settings):
        yield Spectra(_decibel(mel_bands(power, settings)), spectral_contrast(power, settings))


def mel_bands(power: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Return the power in mel bands, (n_frames, n_mels), from power spectra, (n_frames, 1 + n_fft // 2)."""
    # A mel filter has weight 0 in most bins, so each group of filters only reads the bins that it needs.
    return np.concatenate([power[:, bins] @ weights for bins, weights in _mel_groups(settings)], axis=1)


def mfcc(log_mel: np.ndarray, n_mfcc: int) -> np.ndarray:
    """Return mel-frequency cepstral coefficients, (n_frames, n_mfcc), from log-mel bands, (n_frames, n_mels).

    They are an orthonormal DCT-II, as in `librosa.feature.mfcc(S=log_mel)`.
    Source: Davis and Mermelstein (1980), "Comparison of parametric representations for monosyllabic word
    recognition".
    """
    return scipy.fft.dct(log_mel, axis=1, norm="ortho")[:, :n_mfcc]


def spectral_contrast(power: np.ndarray, settings: SpectralSettings) -> np.ndarray:
    """Return the spectral contrast in dB, shape (n_frames, n_bands + 1).

    The contrast of a band is the mean magnitude of its strongest bins minus that of its weakest bins, after
    conversion of both to dB.
    Source: Jiang et al. (2002), "Music type classification by spectral contrast feature".

    Parameters
    ----------
    power : np.ndarray, shape (n_frames, 1 + n_fft // 2)
        Power spectra.
    settings : SpectralSettings
    """
    valley, peak = np.empty((2, len(power), settings.n_bands + 1), np.float32)
    for k, (band, n) in enumerate(_contrast_bands(settings)):
        # A complete sort is faster than np.partition, which has no vector instructions for short rows.
        ordered = np.sort(power[:, band], axis=1)
        np.sqrt(ordered[:, :n]).mean(axis=1, out=valley[:, k])
        np.sqrt(ordered[:, -n:]).mean(axis=1, out=peak[:, k])
    return _decibel(peak) - _decibel(valley)


def mel_centres(settings: SpectralSettings) -> np.ndarray:
    """Return the centre frequencies of the mel bands in Hz, shape (n_mels,)."""
    return mel_edges(settings)[1:-1]


def mel_range(f_min: float, f_max: float, settings: SpectralSettings) -> tuple[int, int]:
    """Return the first mel band centred between two frequencies, and the one after the last.

    A range of fewer than `MIN_RANGE` bands is widened to this number.

    Parameters
    ----------
    f_min, f_max : float
        Frequencies in Hz.
    settings : SpectralSettings
    """
    centres = mel_centres(settings)
    first, stop = np.searchsorted(centres, (f_min, f_max))
    missing = max(MIN_RANGE - (stop - first), 0)
    first = min(max(first - (missing + 1) // 2, 0), len(centres) - MIN_RANGE)
    return int(first), int(max(stop, first + MIN_RANGE))


def mel_edges(settings: SpectralSettings) -> np.ndarray:
    """Return the edges of the mel bands in Hz, (n_mels + 2,); band k extends from edge k to edge k + 2."""
    return librosa.mel_frequencies(settings.n_mels + 2, fmin=settings.fmin, fmax=settings.fmax)


def _power_spectra(blocks: Iterable[np.ndarray], sr: int, settings: SpectralSettings) -> Iterator[np.ndarray]:
    """Yield the float32 power spectra of centred, Hann-windowed frames, at most `BLOCK` frames at a time.

    Each block has the shape (n_frames, 1 + n_fft // 2).
    """
    if sr * settings.n_fft % settings.sr or sr * settings.hop_length % settings.sr:
        # Frame and hop would not be whole numbers of samples, for example at 44.1 kHz.
        blocks, sr = _resampled(blocks, sr, settings.sr), settings.sr
    n_fft, hop_length = (n * sr // settings.sr for n in (settings.n_fft, settings.hop_length))
    # The magnitude of a tone is proportional to the samples per frame. The factor makes it independent of sr.
    window = scipy.signal.get_window("hann", n_fft).astype(np.float32) * np.float32(settings.sr / sr)
    n_bins = 1 + settings.n_fft // 2
    for frames in _frames(blocks, n_fft, hop_length):
        for first in range(0, len(frames), BLOCK):
            spectrum = scipy.fft.rfft(frames[first : first + BLOCK] * window, axis=1)[:, :n_bins]
            power = spectrum.real**2 + spectrum.imag**2
            yield power if sr >= settings.sr else np.pad(power, ((0, 0), (0, n_bins - power.shape[1])))


def _frames(blocks: Iterable[np.ndarray], n_fft: int, hop_length: int) -> Iterator[np.ndarray]:
    """Yield the centred frames of a recording as soon as they are complete, as views of shape (n, n_fft)."""
    margin = np.zeros(n_fft // 2, np.float32)
    pending = margin
    for y in chain(blocks, [margin]):
        pending = np.concatenate([pending, y])
        if len(pending) >= n_fft:
            frames = np.lib.stride_tricks.sliding_window_view(pending, n_fft)[::hop_length]
            yield frames
            pending = pending[len(frames) * hop_length :]


def _resampled(blocks: Iterable[np.ndarray], sr: int, to: int) -> Iterator[np.ndarray]:
    """Yield the blocks resampled to `to` Hz, as one continuous signal."""
    resampler = soxr.ResampleStream(sr, to, 1, dtype="float32")
    for y in blocks:
        yield resampler.resample_chunk(y)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _decibel(power: np.ndarray) -> np.ndarray:
    # librosa's power_to_db with top_db=None: a click must not change other frames.
    return 10 * np.log10(np.maximum(power, 1e-10))


@lru_cache
def _mel_groups(settings: SpectralSettings) -> list[tuple[slice, np.ndarray]]:
    """Return groups of librosa's Slaney-normalised mel filters: frequency bins, and their weights.

    The weights of a group have the shape (n_bins, n_filters).
    """
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
    """Return the bins of each contrast band, and the number of bins averaged for its peak and for its valley.

    The bands have the same bins as in librosa. Every band except the lowest begins one bin below its lower
    edge. Every band except the highest, which extends to the Nyquist frequency, excludes its last bin.
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
