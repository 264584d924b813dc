"""A box in the spectrogram of a recording."""

from typing import NamedTuple


class Box(NamedTuple):
    """Time interval, s, and frequency band, Hz, in a recording."""

    t_min: float
    t_max: float
    f_min: float
    f_max: float
