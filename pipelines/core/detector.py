"""A trained GBM, GRU or blend, read from its results folder: what stands between a recording and scores."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from features.columns.sequences import window_sequences
from features.columns.window_features import Descriptor
from features.common.errors import UserError
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from features.frames.store import VERSION as FEATURES_VERSION
from features.frames.store import frames_of
from features.frames.windows import WindowSettings, window_starts
from models.estimators.gru import GRUClassifier
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.scoring.aggregation import Readout
from models.scoring.blending import SPACES, Blend
from models.scoring.calibration import PlattCalibrator
from models.scoring.thresholds import Thresholds
from pipelines.core.runs import RunError

REMEDY = "give --model the gbm, gru or blend folder of a results folder, once the pipeline has run"
ALONE = Blend("probability", (1.0,))


class WindowModel(Protocol):
    """What scores windows."""

    def predict(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        """Return (n_windows, n_species) scores of the windows that begin at `starts`."""
        ...


@dataclass(frozen=True)
class GBMWindows:
    descriptor: Descriptor
    model: OneVsRestGBM

    def predict(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return self.model.predict_proba(self.descriptor.describe(frames, starts, length))


@dataclass(frozen=True)
class GRUWindows:
    """The mean of the folds' networks."""

    models: tuple[GRUClassifier, ...]

    def predict(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        X = window_sequences(frames, starts, length)
        return np.stack([model.predict_proba(X) for model in self.models]).mean(axis=0, dtype=np.float64)


class Member(NamedTuple):
    windows: WindowModel
    readout: Readout


class Scored(NamedTuple):
    """A recording's scores.

    recording : (n_species,), those that the pipeline gives it.
    windows : (n_windows, n_species), of each window as if it were all of a recording.
    start : (n_windows,) seconds. length : seconds of a window. duration : seconds.
    """

    recording: np.ndarray
    windows: np.ndarray
    start: np.ndarray
    length: float
    duration: float


@dataclass(frozen=True)
class Recogniser:
    """What a pipeline learned.

    folder : where it was read from.
    bands : (n_species, 2) Hz, the median of each species' boxes.
    prior : prevalence that every species has, as far as the scores know.
    calibrator : of the scores, where they are no probabilities yet.
    thresholds : scores from which a species counts as found.
    """

    folder: Path
    species: tuple[str, ...]
    settings: SpectralSettings
    window: WindowSettings
    members: tuple[Member, ...]
    blend: Blend
    bands: np.ndarray
    prior: float
    calibrator: PlattCalibrator | None
    thresholds: Thresholds

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the recogniser that a pipeline left in a results folder's `gbm`, `gru` or `blend`.

        Raises
        ------
        RunError
            The folder holds no run, or its files are another version's, cut, or of several runs.
        """
        config = _config(folder)
        try:
            if config["model"] == "blend":
                if not set(config["members"]) <= {"gbm", "gru"}:  # nor a way out of the results folder
                    raise ValueError(f"its members are {config['members']}")
                members = [
                    (folder.parent / name, _config(folder.parent / name)) for name in config["members"]
                ]
                blend = Blend(config["space"], tuple(map(float, config["weights"])))
                calibrator = PlattCalibrator.of(np.array(config["calibration"], float))
                if blend.space not in SPACES or len(blend.weights) != len(members):
                    raise ValueError("its blend is none")
            else:
                members, blend, calibrator = [(folder, config)], ALONE, None
            settings, window = members[0][1]["spectral"], members[0][1]["window"]
            species = tuple(config["species"])
            for _, other in members:
                if (other["spectral"], other["window"], tuple(other["species"])) != (
                    settings,
                    window,
                    species,
                ):
                    raise ValueError("its members are of several runs")
                if other["features_version"] != FEATURES_VERSION:
                    raise ValueError(f"its features are of version {other['features_version']}")
            bands, prior = np.array(config["bands"], float), float(config["prior"])
            if bands.shape != (len(species), 2) or not np.isfinite(bands).all() or not 0 < prior < 1:
                raise ValueError("its bands or prior are none")
            return cls(
                folder=folder,
                species=species,
                settings=SpectralSettings(**settings),
                window=WindowSettings(**window),
                members=tuple(_member(*member) for member in members),
                blend=blend,
                bands=bands,
                prior=prior,
                calibrator=calibrator,
                thresholds=Thresholds.from_config(config["thresholds"], len(species)),
            )
        except RunError:
            raise
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise _foreign(folder, error) from error

    def probabilities(self, P: np.ndarray) -> np.ndarray:
        """Return (n, n_species) probabilities of scores; a species ranks recordings by either alike."""
        return P if self.calibrator is None else self.calibrator.transform(P)

    def score(self, path: Path) -> Scored:
        """Return the scores of an audio file.

        Raises
        ------
        AudioError
            It cannot be decoded.
        RunError
            The model's numbers, though of the right shapes, give none.
        """
        scored = self.score_frames(frames_of(path, self.settings))
        if not (np.isfinite(scored.recording).all() and np.isfinite(scored.windows).all()):
            raise RunError(f"{self.folder}: gives '{path.name}' scores that are no numbers; train it anew")
        return scored

    def score_frames(self, frames: Frames) -> Scored:
        """Return the scores of a recording's frames."""
        rate = self.settings.frame_rate
        length, hop = self.window.in_frames(rate)
        starts = window_starts(len(frames), length, hop)
        of_members, of_windows = [], []
        for model, readout in self.members:
            P = model.predict(frames, starts, length)
            of_members.append(readout(P, np.array([0])))
            of_windows.append(readout(P, np.arange(len(P))))
        return Scored(
            recording=self.blend.apply(np.stack(of_members))[0],
            windows=self.blend.apply(np.stack(of_windows)),
            start=starts / rate,
            length=length / rate,
            duration=(len(frames) - 1) / rate,
        )


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").exists() or not (folder / "oof.npz").exists():
        raise RunError(f"{folder}: holds no trained model; {REMEDY}")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["model"] not in ("gbm", "gru", "blend"):
            raise ValueError(f"its model is {config['model']}")
        return config
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise _foreign(folder, error) from error


def _member(folder: Path, config: dict[str, Any]) -> Member:
    """Return the GBM or GRU of a results folder, which must be of one piece."""
    readout, n_species = Readout.from_config(config), len(config["species"])
    if readout.calibrator.coef_.shape != (n_species, 2):
        raise ValueError("its calibration is of other species")
    if config["model"] == "gbm":
        descriptor = Descriptor.load(folder, SpectralSettings(**config["spectral"]))
        model = OneVsRestGBM.load(folder)
        columns = {len(descriptor.names()), len(config["features"])}
        if {descriptor.n_species, model.n_species_} != {n_species} or columns != {model.n_features_in_}:
            raise ValueError("its files are of several models")
        return Member(GBMWindows(descriptor, model), readout)
    networks = tuple(GRUClassifier.load(folder / f"fold{k}.pt") for k in range(config["folds"]))
    if {(net.n_bands_, net.n_species_) for net in networks} != {(config["spectral"]["n_mels"], n_species)}:
        raise ValueError("its networks are of other bands or species")
    return Member(GRUWindows(networks), readout)


def _foreign(folder: Path, error: Exception) -> RunError:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    if isinstance(error, UserError):
        return RunError(str(error))
    return RunError(f"{folder}: is not what this version saves ({reason}); train it anew with its pipeline")
