"""`Detector`: a trained member or blend that scores new recordings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.parallel import in_parallel
from features.data.audio import AudioError
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from features.frames.store import VERSION as FEATURES_VERSION
from features.frames.store import frames_of, frames_of_samples
from features.frames.windows import WindowSettings, window_starts
from models.scoring.aggregation import Aggregation
from models.scoring.blending import SPACES, Blend
from models.scoring.calibration import PlattCalibrator
from models.scoring.prevalence import with_prevalence
from models.scoring.thresholds import DEFAULT_PRECISION, LEVELS, Thresholds
from pipelines.core.detections import Detection, ScoredWindows, detect, detection_table
from pipelines.core.member import WindowScorer, member_class
from pipelines.core.runs import BLEND, EXTERNAL, MEMBER, RunError, invalid_run, is_outdated, read_config

ALONE = Blend("probability", (1.0,))


class TrainedMember(NamedTuple):
    """A member with its model. `scorer` is None for external scores, which are given for each recording."""

    name: str
    scorer: WindowScorer | None
    aggregation: Aggregation


@dataclass(frozen=True)
class Detector:
    """A trained member or blend that scores new recordings.

    Attributes
    ----------
    folder : folder of the run.
    species : (n_species,) names.
    settings : settings of the frames.
    window : window length and hop.
    members : the members of the blend, or the one member.
    blend : how the members' scores are combined.
    bands : (n_species, 2) median f_min and f_max of each species' boxes, Hz.
    prior : prevalence that the probabilities assume for every species.
    calibrator : turns scores into probabilities; None if scores are probabilities.
    thresholds : scores from which a species is reported.

    Examples
    --------
    >>> detector = Detector.load("results/synthetic/blend")    # doctest: +SKIP
    >>> scored = detector.score("recording.wav")               # doctest: +SKIP
    >>> scored.recording.nlargest(3)                           # doctest: +SKIP
    """

    folder: Path
    species: tuple[str, ...]
    settings: SpectralSettings
    window: WindowSettings
    members: tuple[TrainedMember, ...]
    blend: Blend
    bands: np.ndarray
    prior: float
    calibrator: PlattCalibrator | None
    thresholds: Thresholds

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the detector of a run.

        Parameters
        ----------
        folder : folder of a trained member or of a blend, such as "results/synthetic/blend".

        Raises
        ------
        RunError
            The folder holds no trained model, or its files are not valid, of another version, or do not
            belong together.
        """
        folder = Path(folder).resolve()
        config = read_config(folder)
        try:
            if config["kind"] == BLEND:
                names = list(config["members"])
                configs = {name: read_config(folder.parent / name) for name in names}
                if is_outdated(folder.parent, config):
                    raise RunError(
                        f"{folder}: a member was trained again since; run 'python pipelines/blend.py' again"
                    )
                blend = Blend(config["space"], tuple(map(float, config["weights"])))
                calibrator = PlattCalibrator.of(np.array(config["calibration"], float))
                if blend.space not in SPACES or len(blend.weights) != len(names):
                    raise ValueError("its weights are not valid")
            else:
                names, configs, blend, calibrator = [folder.name], {folder.name: config}, ALONE, None
            return cls._of(folder, config, configs, blend, calibrator)
        except RunError:
            raise
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise invalid_run(folder, error) from error

    @classmethod
    def _of(
        cls,
        folder: Path,
        config: dict[str, Any],
        configs: Mapping[str, dict[str, Any]],
        blend: Blend,
        calibrator: PlattCalibrator | None,
    ) -> Self:
        """Return the detector of a run whose members have the configurations `configs`."""
        species = tuple(config["species"])
        trained = [other for other in configs.values() if other["kind"] == MEMBER]
        if not trained:
            raise RunError(f"{folder}: holds no trained model, only scores; blend them with a trained member")
        settings, window = trained[0]["spectral"], trained[0]["window"]
        if any(tuple(other["species"]) != species for other in configs.values()):
            raise ValueError("its members have different species")
        if any((other["spectral"], other["window"]) != (settings, window) for other in trained):
            raise ValueError("its members have different frames or windows")
        for other in trained:
            if other["features_version"] != FEATURES_VERSION:
                raise ValueError(f"its features have version {other['features_version']}")
        bands, prior = np.array(config["bands"], float), float(config["prior"])
        if bands.shape != (len(species), 2) or not np.isfinite(bands).all() or not 0 < prior < 1:
            raise ValueError("its bands or its prior are not valid")
        root = folder if config["kind"] == MEMBER else None
        return cls(
            folder=folder,
            species=species,
            settings=SpectralSettings(**settings),
            window=WindowSettings(**window),
            members=tuple(
                _load_member(name, root or folder.parent / name, other) for name, other in configs.items()
            ),
            blend=blend,
            bands=bands,
            prior=prior,
            calibrator=calibrator,
            thresholds=Thresholds.from_config(config["thresholds"], len(species)),
        )

    @property
    def external_members(self) -> list[str]:
        """Names of the members whose scores have to be given for each recording."""
        return [member.name for member in self.members if member.scorer is None]

    def zero_external_scores(self) -> dict[str, np.ndarray]:
        """Return scores of 0 for all external members, for recordings whose external scores are unknown."""
        return {name: np.zeros(len(self.species)) for name in self.external_members}

    def score(
        self, recording: str | Path, external: Mapping[str, np.ndarray] | None = None
    ) -> "ScoredRecording":
        """Return the scores of an audio file.

        Parameters
        ----------
        recording : audio file in any format that libsndfile reads.
        external : name of an external member -> its (n_species,) scores of this recording.

        Raises
        ------
        AudioError
            The file cannot be decoded.
        RunError
            The model returns scores that are not finite.
        UserError
            The scores of an external member are missing.
        """
        return self._score(frames_of(Path(recording), self.settings), external, Path(recording).name)

    def score_array(
        self, y: np.ndarray, sr: int, external: Mapping[str, np.ndarray] | None = None
    ) -> "ScoredRecording":
        """Return the scores of a recording in memory; errors as `score`.

        Parameters
        ----------
        y : (n_samples,) audio, full scale at 1.
        sr : sample rate, Hz.
        external : as in `score`.
        """
        return self._score(frames_of_samples(y, sr, self.settings), external, "the array")

    def _score(
        self, frames: Frames, external: Mapping[str, np.ndarray] | None, name: str
    ) -> "ScoredRecording":
        scored = self.score_frames(frames, external)
        if not (np.isfinite(scored.scores.recording).all() and np.isfinite(scored.scores.windows).all()):
            raise RunError(f"{self.folder}: returns scores of {name} that are not finite; train it again")
        return scored

    def score_frames(
        self, frames: Frames, external: Mapping[str, np.ndarray] | None = None
    ) -> "ScoredRecording":
        """Return the scores of a recording whose frames are computed; arguments as in `score`."""
        rate = self.settings.frame_rate
        length, hop = self.window.in_frames(rate)
        starts = window_starts(len(frames), length, hop)
        recording_scores, window_scores = [], []
        for member in self.members:
            if member.scorer is None:
                # External scores say nothing about time: all windows have the recording's.
                P = np.tile(self._external_scores(member.name, external), (len(starts), 1))
            else:
                P = member.scorer.score(frames, starts, length)
            recording_scores.append(member.aggregation(P, np.array([0])))
            window_scores.append(member.aggregation(P, np.arange(len(P))))
        scores = ScoredWindows(
            recording=self.blend.apply(np.stack(recording_scores))[0],
            windows=self.blend.apply(np.stack(window_scores)),
            start=starts / rate,
            length=length / rate,
            duration=(len(frames) - 1) / rate,
        )
        return ScoredRecording(self, scores)

    def _external_scores(self, name: str, external: Mapping[str, np.ndarray] | None) -> np.ndarray:
        if external is None or name not in external:
            raise UserError(f"{self.folder}: contains scores of '{name}'; give them as external['{name}']")
        return np.asarray(external[name], float)

    def probabilities(self, P: np.ndarray) -> np.ndarray:
        """Return (n, n_species) probabilities of (n, n_species) scores of this detector."""
        return P if self.calibrator is None else self.calibrator.transform(P)


@dataclass(frozen=True)
class ScoredRecording:
    """Scores of one recording.

    Attributes
    ----------
    detector : the detector that scored it.
    scores : scores as arrays.
    """

    detector: Detector
    scores: ScoredWindows

    @property
    def recording(self) -> pd.Series:
        """Score of each species in the recording: species -> probability.

        Only the scores of a blend in rank space are not probabilities.
        """
        return pd.Series(self.scores.recording, index=list(self.detector.species))

    @property
    def windows(self) -> pd.DataFrame:
        """Score of each species in each window: start and end in s, then one column per species."""
        start = self.scores.start
        end = np.minimum(start + self.scores.length, self.scores.duration)
        times = pd.DataFrame({"start": start, "end": end})
        return times.join(pd.DataFrame(self.scores.windows, columns=list(self.detector.species)))

    def detections(self, precision: float | None = None, recall: float | None = None) -> pd.DataFrame:
        """Return the detections: species, t_min, t_max, f_min, f_max, score and threshold, sorted by t_min.

        Parameters
        ----------
        precision : wanted share of correct detections, out of fold; one of `LEVELS`. The default is 0.7.
        recall : wanted share of found recordings with the species, instead of a precision.
        """
        threshold = threshold_for(self.detector.thresholds, precision=precision, recall=recall)
        return detection_table(self.detect(threshold), self.detector.species)

    def detect(self, threshold: np.ndarray) -> list[Detection]:
        """Return the detections at (n_species,) thresholds."""
        return detect(self.scores, threshold, self.detector.bands)

    def at_prevalence(self, prevalence: np.ndarray) -> Self:
        """Return the probabilities for recordings in which species have the (n_species,) prevalence."""
        detector = self.detector
        recording, windows = (
            with_prevalence(detector.probabilities(P), detector.prior, prevalence)
            for P in (self.scores.recording[None], self.scores.windows)
        )
        return replace(self, scores=self.scores._replace(recording=recording[0], windows=windows))


def score_recordings(
    detector: Detector,
    recordings: Mapping[str, Path],
    external: Mapping[str, np.ndarray],
    n_jobs: int,
) -> Iterator[tuple[str, ScoredRecording | AudioError]]:
    """Yield each recording's id, and its scores or the reason why it cannot be decoded.

    Parameters
    ----------
    external : name of an external member -> its (n_recordings, n_species) scores.
    n_jobs : number of recordings scored in parallel.
    """

    def score(row: int, path: Path) -> ScoredRecording | AudioError:
        try:
            return detector.score(path, {name: P[row] for name, P in external.items()})
        except AudioError as error:
            return error

    scored = in_parallel(score, enumerate(recordings.values()), n_jobs)
    yield from zip(recordings, scored, strict=True)


def threshold_for(
    thresholds: Thresholds, *, precision: float | None = None, recall: float | None = None
) -> np.ndarray:
    """Return the (n_species,) thresholds for a wanted precision or recall, one of `LEVELS`.

    Raises
    ------
    UserError
        Both are given, or the value is not one of `LEVELS`.
    """
    if precision is not None and recall is not None:
        raise UserError(f"precision {precision} and recall {recall} are both given; give one of them")
    by_level, level = (
        (thresholds.recall, recall)
        if recall is not None
        else (thresholds.precision, DEFAULT_PRECISION if precision is None else precision)
    )
    if level not in by_level:
        raise UserError(f"level {level} is not one of {', '.join(map(str, LEVELS))}; give one of these")
    return by_level[level]


def _load_member(name: str, folder: Path, config: dict[str, Any]) -> TrainedMember:
    aggregation = Aggregation.from_config(config, len(config["species"]))
    if config["kind"] == EXTERNAL:
        return TrainedMember(name, None, aggregation)
    try:
        member = member_class(config["model"])()
    except KeyError as error:
        raise ValueError(f"no member '{config['model']}' is registered") from error
    return TrainedMember(name, member.scorer.load(folder, config), aggregation)
