"""False alarms: false reports in recordings without a species, and detections in silence and white noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from features.common.parallel import in_parallel
from features.frames.spectral import SpectralSettings
from features.frames.store import packed_frames_of_samples
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detector import Detector

N_NAMED = 3  # species named per kind of noise
NOISE_MINUTES = 10


@dataclass(frozen=True)
class FalseReports:
    """How often each species is reported in recordings that are known not to contain it.

    Attributes
    ----------
    n_reports : (n_species,) number of recordings without the species in which it is reported.
    hours : (n_species,) duration of all recordings without the species.
    total_hours : duration of all recordings that are known not to contain at least one species.
    """

    n_reports: np.ndarray
    hours: np.ndarray
    total_hours: float

    @classmethod
    def count(cls, known: np.ndarray, P: np.ndarray, *, threshold: np.ndarray, hours: np.ndarray) -> Self:
        """Return the false reports of a split.

        Parameters
        ----------
        known : (n_recordings, n_species) presence: 1, 0, or nan for unknown.
        P : (n_recordings, n_species) scores.
        threshold : (n_species,) score from which each species is reported.
        hours : (n_recordings,) durations.
        """
        absent = known == 0
        return cls(
            n_reports=(absent & (threshold <= P)).sum(axis=0),
            hours=hours @ absent,
            total_hours=float(hours[absent.any(axis=1)].sum()),
        )

    @property
    def per_hour(self) -> np.ndarray:
        """False reports of each species per hour, (n_species,); nan if it is nowhere known to be absent."""
        rate = np.full(len(self.hours), np.nan)
        return np.divide(self.n_reports, self.hours, out=rate, where=self.hours > 0)

    @property
    def n_species(self) -> int:
        """Number of species that are known to be absent from at least one recording."""
        return int((self.hours > 0).sum())

    @property
    def total_per_hour(self) -> float:
        """Expected number of false reports per hour of audio, over these species."""
        return float(np.nansum(self.per_hour))


def noise_recordings(settings: SpectralSettings, seed: int) -> dict[str, list[list[np.ndarray]]]:
    """Return the packed frames of recordings of one minute without calls, by kind: silence and white noise.

    Parameters
    ----------
    seed : random seed of the white noise.
    """
    rng = np.random.default_rng(seed)
    n = 60 * settings.sr

    def packed(y: np.ndarray) -> list[np.ndarray]:
        return list(packed_frames_of_samples(y, settings.sr, settings))

    white = [packed(0.1 * rng.standard_normal(n, np.float32)) for _ in range(NOISE_MINUTES)]
    return {"silence": [packed(np.zeros(n, np.float32))] * NOISE_MINUTES, "white noise": white}


def count_noise_detections(
    detector: Detector, noises: Mapping[str, Sequence[list[np.ndarray]]], n_jobs: int
) -> pd.DataFrame:
    """Return one row per kind of noise: minutes, detections per hour, and the species reported most often.

    Parameters
    ----------
    detector : must not have external members, whose scores of noise are unknown.
    noises : kind of noise -> packed frames of recordings.
    n_jobs : number of recordings scored in parallel.
    """
    threshold = detector.thresholds.at(precision=DEFAULT_PRECISION)
    rows = []
    for kind, recordings in noises.items():
        scored = list(in_parallel(detector.score_frames, [(packed,) for packed in recordings], n_jobs))
        found = [detection.species for one in scored for detection in one.detect(threshold)]
        hours = sum(one.scores.duration for one in scored) / 3600
        per_hour = np.bincount(found, minlength=len(detector.species)) / hours
        below = np.stack([one.scores.recording for one in scored]).max(axis=0) < threshold
        most = [k for k in np.argsort(-per_hour)[:N_NAMED] if per_hour[k]]
        rows.append(
            {
                "noise": kind,
                "minutes": 60 * hours,
                "detections per hour": len(found) / hours,
                "species without a detection": f"{below.sum()} of {len(below)}",
                "reported most often, per hour": ", ".join(
                    f"{detector.species[k]} {per_hour[k]:.0f}" for k in most
                )
                or "none",
            }
        )
    return pd.DataFrame(rows)
