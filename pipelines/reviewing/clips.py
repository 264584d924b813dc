"""Clips of windows for the reviewer: audio to keep, compressed audio and a spectrogram for the page."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import scipy.fft
import scipy.signal
import soundfile
import soxr

from features.data.audio import Clip, Recording

CONTEXT = 1.0  # s before and after the window
MP3_RATES = (32_000, 44_100, 48_000)
PAGE_RATE = 32_000  # Hz; sample rate of the audio in the page, unless MP3 has that of the recording
FRAME, HOP = 0.016, 0.004  # s
HEIGHT, MAX_WIDTH = 256, 640  # pixels
MAX_FREQUENCY = 16_000.0  # Hz
RANGE = 40.0  # dB between white and black
QUALITY = 45  # of the spectrogram as a JPEG image


class ReviewClip(NamedTuple):
    """A window with its context.

    Attributes
    ----------
    y : (n_samples,) audio.
    sr : sample rate, Hz.
    start : time of the first sample in the recording, s.
    """

    y: np.ndarray
    sr: int
    start: float

    @property
    def end(self) -> float:
        return self.start + len(self.y) / self.sr

    @property
    def top(self) -> float:
        """Highest frequency of the spectrogram, Hz."""
        return min(MAX_FREQUENCY, self.sr / 2)


def read_clip(path: Path, t_min: float, t_max: float, duration: float) -> ReviewClip:
    """Return a window of a recording with `CONTEXT` on both sides, as far as the recording extends.

    Raises
    ------
    AudioError
        The recording cannot be read.
    """
    start, end = max(t_min - CONTEXT, 0.0), min(t_max + CONTEXT, duration)
    recording = Recording(Clip(path, start, end))
    y = np.concatenate(list(recording.blocks()))
    return ReviewClip(y, recording.sr, start)


def write_wav(clip: ReviewClip, file: Path) -> None:
    """Write a clip as a 16-bit WAV file with the sample rate of the recording."""
    soundfile.write(file, np.clip(clip.y, -1, 1), clip.sr, subtype="PCM_16", format="WAV")


def mp3(clip: ReviewClip) -> bytes:
    """Return a clip as MP3, which all browsers play, with its highest sample near full scale."""
    y, sr = clip.y, clip.sr
    if sr not in MP3_RATES:
        y, sr = soxr.resample(y, sr, PAGE_RATE), PAGE_RATE
    encoded = io.BytesIO()
    soundfile.write(encoded, 0.9 * y / max(np.abs(y).max(), 1e-6), sr, format="MP3", compression_level=0.8)
    return encoded.getvalue()


def spectrogram(clip: ReviewClip) -> bytes:
    """Return the spectrogram of a clip as a JPEG image; loud is dark, and the lowest frequency is below.

    The image extends from the start to the end of the clip and from 0 Hz to `ReviewClip.top`.
    """
    n_fft = scipy.fft.next_fast_len(max(round(FRAME * clip.sr), 64))
    hop = max(round(HOP * clip.sr), -(-len(clip.y) // MAX_WIDTH))
    padded = np.pad(clip.y, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    power = np.abs(scipy.fft.rfft(frames * scipy.signal.get_window("hann", n_fft), axis=1)) ** 2
    power = power[:, : int(clip.top / clip.sr * n_fft) + 1]
    decibel = 10 * np.log10(power + 1e-12)
    decibel -= 0.7 * np.median(decibel, axis=0)  # part of the background, so that steady sounds stay visible
    loudest = np.percentile(decibel, 99.8)
    shade = np.clip((decibel - (loudest - RANGE)) / RANGE, 0, 1)
    pixels = (255 * (1 - shade)).astype(np.uint8).T[::-1]
    image = PIL.Image.fromarray(pixels).resize((pixels.shape[1], HEIGHT))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()
