"""Ranges of the values in a run's config.json.

A run folder can come from somebody else, so every value that determines how much memory or time is used is
validated before it is used.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from features.frames.spectral import MIN_RANGE
from features.frames.windows import MAX_LENGTH
from models.scoring.blending import SPACES
from models.scoring.pooling import POOLINGS

MAX_SPECIES = 20_000
MAX_FOLDS = 10_000
MAX_HERTZ = 1e6
BASELINE, MEMBER, EXTERNAL, BLEND = KINDS = ("baseline", "member", "external", "blend")


def _one_of(*names: str) -> AfterValidator:
    def validate(name: str) -> str:
        if name not in names:
            raise ValueError(f"'{name}' is not one of {', '.join(names)}")
        return name

    return AfterValidator(validate)


def _positive(unit: float) -> Any:
    return Field(gt=0, le=unit)


class _Values(BaseModel):
    """Values of JSON types; further values are allowed."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


class _Spectral(_Values):
    """`features.frames.spectral.SpectralSettings`."""

    sr: int = Field(ge=1000, le=MAX_HERTZ)
    n_fft: int = Field(ge=16, le=1 << 16)
    hop_length: int = Field(ge=8, le=1 << 16)
    n_mels: int = Field(ge=MIN_RANGE, le=1024)
    fmin: float = Field(ge=0, le=MAX_HERTZ)
    fmax: float = _positive(MAX_HERTZ)
    n_mfcc: int = Field(ge=1, le=1024)
    n_bands: int = Field(ge=1, le=16)
    contrast_fmin: float = _positive(MAX_HERTZ)
    quantile: float = _positive(1)

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length {self.hop_length} is above n_fft {self.n_fft}")
        if not self.fmin < self.fmax <= self.sr / 2:
            raise ValueError(f"fmin {self.fmin} and fmax {self.fmax} are not a band below {self.sr / 2} Hz")
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is above n_mels {self.n_mels}")
        return self


class _Window(_Values):
    """`features.frames.windows.WindowSettings`."""

    length: float = _positive(MAX_LENGTH)
    hop: float = _positive(MAX_LENGTH)
    min_overlap: float = _positive(1)


class _Run(_Values):
    """A run of any kind."""

    model: str
    species: list[str] = Field(min_length=1, max_length=MAX_SPECIES)
    bands: list[list[Annotated[float, Field(ge=0, le=MAX_HERTZ)]]]
    prior: float = Field(gt=0, lt=1)
    thresholds: dict[str, Any]
    seed: int
    versions: dict[str, str]

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if len(self.bands) != len(self.species):
            raise ValueError(f"there are {len(self.bands)} bands for {len(self.species)} species")
        for band in self.bands:
            if len(band) != 2 or not band[0] < band[1]:
                raise ValueError(f"{band} is not a band")
        return self


class _Calibrated(_Run):
    """A run whose scores are calibrated."""

    calibration: list[list[float]]

    @model_validator(mode="after")
    def _validate_calibration(self) -> Self:
        if {len(row) for row in self.calibration} != {2} or len(self.calibration) != len(self.species):
            raise ValueError("calibration is not a slope and an offset for each species")
        return self


class _External(_Calibrated):
    pooling: Annotated[str, _one_of(*POOLINGS)]


class _Member(_External):
    spectral: _Spectral
    window: _Window
    longest: int = _positive(1e9)
    sample_rate: int = _positive(MAX_HERTZ)
    features_version: int
    folds: int = Field(ge=2, le=MAX_FOLDS)


class _Share(_Values):
    """Weight and id of a member of a blend."""

    weight: float = Field(ge=0, le=1)
    id: str


class _Blend(_Calibrated):
    members: dict[str, _Share] = Field(min_length=1)
    space: Annotated[str, _one_of(*SPACES)]

    @model_validator(mode="after")
    def _validate_weights(self) -> Self:
        if any(Path(name).name != name or name in ("", "..") for name in self.members):
            raise ValueError("a member's name is a path")
        total = sum(member.weight for member in self.members.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the weights of the members have the sum {total:g} instead of 1")
        return self


_SCHEMAS: dict[str, type[_Run]] = {
    BASELINE: _Run,
    MEMBER: _Member,
    EXTERNAL: _External,
    BLEND: _Blend,
}


def validate_config(config: Any) -> dict[str, Any]:
    """Return the contents of a config.json.

    Raises
    ------
    ValueError, TypeError
        A value is missing, has a wrong type, or is outside its range.
    """
    if not isinstance(config, dict):
        raise TypeError("config.json is not an object")
    kind = config.get("kind")
    if kind not in KINDS:
        raise ValueError(f"its kind {kind!r} is not one of {', '.join(KINDS)}")
    try:
        _SCHEMAS[kind].model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error
    return config
