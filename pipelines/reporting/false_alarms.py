"""False alarms: what a detector reports in silence, in white noise and in the quietest moments."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from features.common.parallel import in_parallel
from features.data.dataset import Dataset
from features.frames.frames import Frames, concatenate
from features.frames.spectral import compute_frames
from features.frames.store import FrameStore
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detector import Detector

N_NAMED = 3  # species named per kind of noise
NOISE_MINUTES = 10
QUIET_SECONDS = 2.0  # per training recording


def noise_recordings(store: FrameStore, dataset: Dataset, seed: int) -> dict[str, list[Frames]]:
    """Return recordings without calls, by kind: silence, white noise, and quiet moments of the data set.

    They are one minute long, unless the data set has too few recordings.

    Parameters
    ----------
    store : frames of the training recordings.
    seed : random seed of the white noise and of the choice of training recordings.
    """
    rng, settings = np.random.default_rng(seed), store.settings
    n = 60 * settings.sr
    silence = Frames.of(*compute_frames([np.zeros(n, np.float32)], settings.sr, settings))
    white = [
        Frames.of(*compute_frames([0.1 * rng.standard_normal(n, np.float32)], settings.sr, settings))
        for _ in range(NOISE_MINUTES)
    ]
    length = round(QUIET_SECONDS * settings.frame_rate)
    quiet = []
    for recording_id in rng.permutation(list(dataset.train))[: round(NOISE_MINUTES * 60 / QUIET_SECONDS)]:
        frames = store.load(str(recording_id), "train")
        loudness = frames.levels.mean(axis=1)
        moving = np.convolve(loudness, np.ones(min(length, len(frames))), mode="valid")
        quiet.append(frames.excerpt(int(moving.argmin()), min(length, len(frames))))
    per_minute = round(60 / QUIET_SECONDS)
    minutes = [concatenate(quiet[first : first + per_minute]) for first in range(0, len(quiet), per_minute)]
    return {
        "silence": [silence] * NOISE_MINUTES,
        "white noise": white,
        "quietest moments of the training recordings": minutes,
    }


def count_false_alarms(
    detector: Detector, noises: Mapping[str, Sequence[Frames]], n_jobs: int
) -> pd.DataFrame:
    """Return one row per kind of noise: minutes, detections per hour, and the species reported most often.

    Parameters
    ----------
    detector : must not have external members, whose scores of noise are unknown.
    noises : kind of noise -> recordings.
    n_jobs : number of recordings scored in parallel.
    """
    threshold = detector.thresholds.at(precision=DEFAULT_PRECISION)
    rows = []
    for kind, recordings in noises.items():
        scored = list(in_parallel(detector.score_frames, [(frames,) for frames in recordings], n_jobs))
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
