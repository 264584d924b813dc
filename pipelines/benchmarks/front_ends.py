"""Other front ends for the GRU: PCEN and spectral gating instead of levels above the background."""

from collections.abc import Iterator
from dataclasses import replace

import librosa
import numpy as np
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from pipelines.benchmarks.recording_peers import Entry
from pipelines.core.task import Task
from pipelines.core.train import default_arguments, finish
from pipelines.members.gru import GRU, GRUScorer

N_DEVIATIONS = 1.5  # above the mean level of a band, from which the gate is open
SMOOTHING = (2.0, 2.0)  # standard deviation of the smoothed gate, in frames and bands
CLOSED = -20.0  # gain of a closed gate, dB


def pcen(frames: Frames, frame_rate: float) -> np.ndarray:
    """Return per-channel energy normalisation [1]_ of the mel bands, (n_frames, n_mels).

    The parameters are those that Lostanlen et al. (2019) recommend for bird calls in the field.

    References
    ----------
    .. [1] Wang et al. (2017), "Trainable frontend for robust and far-field keyword spotting".
    """
    S = 2**31 * librosa.db_to_amplitude(frames.log_mel.T)  # the scale that librosa's example uses
    found: np.ndarray = librosa.pcen(
        S, sr=frame_rate, hop_length=1, gain=0.8, bias=10, power=0.25, time_constant=0.06
    )
    return found.T


def spectral_gating(frames: Frames) -> np.ndarray:
    """Return levels above the background, without noise below a gate, (n_frames, n_mels).

    The gate of a band opens above its mean level by `N_DEVIATIONS` standard deviations, and is smoothed over
    time and frequency, as in the program noisereduce (Sainburg et al. 2020).
    """
    log_mel = frames.log_mel
    is_open = log_mel > log_mel.mean(axis=0) + N_DEVIATIONS * log_mel.std(axis=0)
    gate = np.minimum(gaussian_filter(is_open.astype(np.float32), SMOOTHING), 1)
    return frames.levels + CLOSED * (1 - gate)


class OtherFrontEnd(GRUScorer):
    """The networks on other inputs than those of the members."""

    def inputs_digest(self) -> str:
        return type(self).__name__


class PCENScorer(OtherFrontEnd):
    """The networks on per-channel energy normalisation."""

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        levels = pcen(frames, SpectralSettings().frame_rate)
        return super().inputs(replace(frames, levels=levels), starts, length)


class GatedScorer(OtherFrontEnd):
    """The networks on levels with spectral gating."""

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return super().inputs(replace(frames, levels=spectral_gating(frames)), starts, length)


def compare_front_ends(task: Task, *flags: str) -> Iterator[Entry]:
    """Yield the scores of the GRU on each front end; `flags` are those of its command."""
    for name, scorer in (
        ("gru, background subtraction", GRUScorer),
        ("gru, PCEN", PCENScorer),
        ("gru, spectral gating", GatedScorer),
    ):
        member = GRU()
        member.scorer = scorer
        args = default_arguments(member, task, *flags)
        own = replace(task, results=task.results / "front_ends")
        with threadpool_limits(1, user_api="blas"):
            cross_fit = member.cross_fit(own, args)
            trained = finish(member, own, args, cross_fit)
        n_bands = own.store.settings.n_mels
        yield Entry(name, n_bands, cross_fit.seconds, trained.pooled_oof, trained.oof, trained.test)
