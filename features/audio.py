"""Decode and mix down."""

from pathlib import Path

import numpy as np
import soundfile

from features.errors import UserError


class AudioError(UserError):
    """A recording that cannot be turned into samples."""


def load(path: Path) -> tuple[np.ndarray, int]:
    """Return a recording's samples, mixed down to one channel, and its sample rate.

    Parameters
    ----------
    path : a FLAC, WAV, OGG or MP3 file of any rate, length and channel count.

    Returns
    -------
    y : (n_samples,) float32, full scale at 1.
    sr : Hz.

    Raises
    ------
    AudioError
        The file cannot be decoded, holds no samples, or holds NaN or infinity. A recording is
        never replaced by silence.
    """
    try:
        y, sr = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = str(error).rstrip(".").rsplit(": ", 1)[-1]
        raise AudioError(f"{path}: cannot be decoded ({reason}); replace or remove the file") from error
    if y.shape[0] == 0:
        raise AudioError(f"{path}: holds no samples; replace or remove the file")
    y = y[:, 0] if y.shape[1] == 1 else y.mean(axis=1)
    if not np.isfinite(y).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; replace or remove the file")
    return y, sr
