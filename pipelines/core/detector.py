"""`Detector`: a trained member or blend that scores new recordings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from features.common.errors import UserError
from features.common.files import real_path
from features.data.audio import stated_size, warn_low_sample_rates
from features.frames.frames import Frames
from features.frames.segments import in_segments
from features.frames.spectral import SpectralSettings
from features.frames.store import VERSION as FEATURES_VERSION
from features.frames.store import packed_frames, packed_frames_of_samples
from features.frames.windows import WindowSettings, window_starts
from models.scoring.aggregation import Aggregation
from models.scoring.blending import Blend
from models.scoring.calibration import PlattCalibrator
from models.scoring.prevalence import with_prevalence
from models.scoring.thresholds import Thresholds
from pipelines.core.detections import Detection, ScoredWindows, detect, detection_table
from pipelines.core.manifest import Manifest
from pipelines.core.member import WindowScorer, member_class
from pipelines.core.run_config import BLEND, EXTERNAL, MEMBER
from pipelines.core.runs import RunError, has_run, is_outdated, outdated_blend, read_whole

ALONE = Blend("probability", (1.0,))
ExternalScores = np.ndarray | pd.Series
"""Scores of another model for one recording: an array in the order of the species, or a Series indexed by
species."""


class TrainedMember(NamedTuple):
    """A member of a detector.

    Attributes
    ----------
    name : name of the member.
    scorer : model of the member; None for external scores, which the caller gives for each recording.
    aggregation : turns window scores into recording scores.
    config : config.json of the run.
    """

    name: str
    scorer: WindowScorer | None
    aggregation: Aggregation
    config: Mapping[str, Any] = {}

    @property
    def inputs_key(self) -> str:
        """Members with the same key have the same inputs."""
        return (self.scorer and self.scorer.inputs_digest()) or self.name


@dataclass(frozen=True)
class Detector:
    """A trained member or blend that scores new recordings.

    Attributes
    ----------
    folder : folder of the run.
    run_id : id of the run; it changes with its data, settings, model and scores.
    species : (n_species,) names.
    settings : settings of the frames.
    window : window length and hop.
    longest : number of frames of the longest training recording. Longer recordings are scored in segments.
    sample_rate : sample rate up to which the training recordings were used, Hz.
    members : the members of the blend, or the one member.
    blend : how the members' scores are combined.
    bands : (n_species, 2) median f_min and f_max of each species' boxes, Hz.
    prior : prevalence that the probabilities assume for every species.
    calibrator : turns scores into probabilities; None if scores are probabilities.
    thresholds : lowest scores at which a species is reported, for any precision or recall.

    Examples
    --------
    >>> detector = Detector.load("results/synthetic/blend")    # doctest: +SKIP
    >>> scored = detector.score("recording.wav")               # doctest: +SKIP
    >>> scored.recording.nlargest(3)                           # doctest: +SKIP
    """

    folder: Path
    run_id: str
    species: tuple[str, ...]
    settings: SpectralSettings
    window: WindowSettings
    longest: int
    sample_rate: int
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
            The folder has no trained model. Or its files are invalid, do not belong together, or were
            written by a different version.
        """
        folder = real_path(Path(folder))
        return read_whole(folder, partial(cls._load, folder))

    @classmethod
    def _load(cls, folder: Path, config: dict[str, Any], manifest: Manifest) -> Self:
        if config["kind"] == BLEND:
            return cls._load_blend(folder, config, manifest)
        if config["kind"] != MEMBER:
            raise RunError(
                f"{folder}: holds scores without a model; give the folder of a trained member or a blend"
            )
        return cls._of(folder, config, manifest, members=(_load_member(folder, config),), blend=ALONE)

    @classmethod
    def _load_blend(cls, folder: Path, config: dict[str, Any], manifest: Manifest) -> Self:
        """Return the detector of a blend, without the members of weight 0."""
        for name in config["members"]:
            if not has_run(folder.parent / name):
                raise RunError(
                    f"{folder.parent / name}: missing member of the blend; train it and blend again, or "
                    f"copy its folder there"
                )
        if is_outdated(folder.parent, config):
            raise outdated_blend(folder)
        weights = {name: float(member["weight"]) for name, member in config["members"].items()}
        used = {name: weight for name, weight in weights.items() if weight > 0}
        blend = Blend(config["space"], tuple(used.values()))

        def load(member: Path) -> TrainedMember:
            def read(member_config: dict[str, Any], manifest: Manifest) -> TrainedMember:
                if manifest.id != config["members"][member.name]["id"]:
                    raise outdated_blend(folder)
                return _load_member(member, member_config)

            return read_whole(member, read)

        members = tuple(load(folder.parent / name) for name in used)
        calibrator = PlattCalibrator.of(np.array(config["calibration"], float))
        return cls._of(folder, config, manifest, members=members, blend=blend, calibrator=calibrator)

    @classmethod
    def _of(
        cls,
        folder: Path,
        config: dict[str, Any],
        manifest: Manifest,
        *,
        members: tuple[TrainedMember, ...],
        blend: Blend,
        calibrator: PlattCalibrator | None = None,
    ) -> Self:
        """Return the detector of a run with loaded members, which must have the same species and frames."""
        species = tuple(config["species"])
        trained = [member.config for member in members if member.scorer is not None]
        if not trained:
            raise RunError(f"{folder}: only external scores have a weight, so there is no model to load")
        keys = ("spectral", "window", "longest", "sample_rate")
        settings, window, longest, sample_rate = (trained[0][key] for key in keys)
        if any(tuple(member.config["species"]) != species for member in members):
            raise ValueError("its members have different species")
        if any([other[key] for key in keys] != [trained[0][key] for key in keys] for other in trained):
            raise ValueError("its members have different recordings, frame settings or window settings")
        for other in trained:
            if other["features_version"] != FEATURES_VERSION:
                raise ValueError(f"its features have version {other['features_version']}")
        return cls(
            folder=folder,
            run_id=manifest.id,
            species=species,
            settings=SpectralSettings(**settings),
            window=WindowSettings(**window),
            longest=longest,
            sample_rate=sample_rate,
            members=members,
            blend=blend,
            bands=np.array(config["bands"], float),
            prior=float(config["prior"]),
            calibrator=calibrator,
            thresholds=Thresholds.from_config(config["thresholds"], len(species)),
        )

    @property
    def external_members(self) -> list[str]:
        """Names of the members whose scores the caller must give for each recording."""
        return [member.name for member in self.members if member.scorer is None]

    def zero_external_scores(self) -> dict[str, np.ndarray]:
        """Return scores of 0 for all external members, for recordings whose external scores are unknown."""
        return {name: np.zeros(len(self.species)) for name in self.external_members}

    def score(
        self, recording: str | Path, external: Mapping[str, ExternalScores] | None = None
    ) -> "ScoredRecording":
        """Return the scores of an audio file.

        Parameters
        ----------
        recording : audio file in any format that libsndfile reads.
        external : name of an external member -> its (n_species,) scores of this recording, as an array in the
            order of `species` or a Series indexed by species.

        Raises
        ------
        AudioError
            The file cannot be read.
        RunError
            The model returns scores that are not finite.
        UserError
            The scores of an external member are missing or not valid.

        Warns
        -----
        UserWarning
            The file has a lower sample rate than the training recordings.
        """
        path = Path(recording)
        warn_low_sample_rates({path.name: stated_size(path)[0]}, self.sample_rate)
        return self.score_file(path, external)

    def score_file(
        self, path: Path, external: Mapping[str, ExternalScores] | None = None
    ) -> "ScoredRecording":
        """Return the scores of an audio file, like `score`, without warnings."""
        return self._score(packed_frames(path, self.settings), external, path.name)

    def score_array(
        self, y: np.ndarray, sr: int, external: Mapping[str, ExternalScores] | None = None
    ) -> "ScoredRecording":
        """Return the scores of audio samples in memory; raises the same errors as `score`.

        Parameters
        ----------
        y : (n_samples,) audio, full scale at 1.
        sr : sample rate, Hz.
        external : as in `score`.
        """
        return self._score(packed_frames_of_samples(y, sr, self.settings), external, "the array")

    def _score(
        self, packed: Iterable[np.ndarray], external: Mapping[str, ExternalScores] | None, name: str
    ) -> "ScoredRecording":
        scored = self.score_frames(packed, external)
        if not (np.isfinite(scored.scores.recording).all() and np.isfinite(scored.scores.windows).all()):
            raise RunError(f"{self.folder}: the scores of {name} are not finite; train the model again")
        return scored

    def score_frames(
        self, packed: Iterable[np.ndarray], external: Mapping[str, ExternalScores] | None = None
    ) -> "ScoredRecording":
        """Return the scores of a recording from its packed frames in blocks; `external` as in `score`."""
        rate = self.settings.frame_rate
        length, hop = self.window.in_frames(rate)
        segment_scores, window_scores, starts = [], [], []
        n_frames = 0
        for first, segment in in_segments(packed, self.longest, self.settings):
            n_frames = first + len(segment)
            starts.append(window_starts(len(segment), length, hop))
            of_segment, of_windows = self._score_segment(segment, starts[-1], external)
            segment_scores.append(of_segment)
            window_scores.append(of_windows)
            starts[-1] += first
        scores = ScoredWindows(
            segments=np.stack(segment_scores),
            first=np.cumsum([0, *map(len, starts[:-1])]),
            windows=np.concatenate(window_scores),
            start=np.concatenate(starts) / rate,
            length=length / rate,
            duration=(n_frames - 1) / rate,
        )
        return ScoredRecording(self, scores)

    def _score_segment(
        self, frames: Frames, starts: np.ndarray, external: Mapping[str, ExternalScores] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of a segment, (n_species,), and of its windows, (n_windows, n_species)."""
        length, _ = self.window.in_frames(self.settings.frame_rate)
        segment_scores, window_scores = [], []
        inputs: dict[str, np.ndarray] = {}
        for member in self.members:
            if member.scorer is None:
                # External scores are given per recording, so all its windows get the same scores.
                P = np.tile(self._external_scores(member.name, external), (len(starts), 1))
            else:
                if member.inputs_key not in inputs:
                    inputs[member.inputs_key] = member.scorer.inputs(frames, starts, length)
                P = member.scorer.predict(inputs[member.inputs_key])
            segment_scores.append(member.aggregation(P, np.array([0])))
            window_scores.append(member.aggregation(P, np.arange(len(P))))
        return self.blend.apply(np.stack(segment_scores))[0], self.blend.apply(np.stack(window_scores))

    def _external_scores(self, name: str, external: Mapping[str, ExternalScores] | None) -> np.ndarray:
        """Return the validated scores of an external member, (n_species,)."""
        if external is None or name not in external:
            raise UserError(f"{self.folder}: contains scores of '{name}'; give them as external['{name}']")
        given = external[name]
        if isinstance(given, pd.Series):
            missing = [species for species in self.species if species not in given.index]
            if missing:
                raise UserError(f"external['{name}']: missing species {', '.join(missing)}; add their scores")
            given = given[list(self.species)].to_numpy()
        P = np.asarray(given, float)
        if P.shape != (len(self.species),) or not ((P >= 0) & (P <= 1)).all():  # also true for nan
            raise UserError(
                f"external['{name}']: must be {len(self.species)} probabilities from 0 to 1, one per species"
            )
        return P

    def probabilities(self, P: np.ndarray) -> np.ndarray:
        """Return the probabilities for scores P of this detector; both have shape (n, n_species)."""
        return P if self.calibrator is None else self.calibrator.transform(P)


@dataclass(frozen=True)
class ScoredRecording:
    """Scores of one recording.

    Attributes
    ----------
    detector : the detector that scored the recording.
    scores : scores as arrays.
    """

    detector: Detector
    scores: ScoredWindows

    @property
    def recording(self) -> pd.Series:
        """Score of each species in the recording, indexed by species.

        The scores are probabilities, except those of a blend in rank space.
        """
        return pd.Series(self.scores.recording, index=list(self.detector.species))

    @property
    def segments(self) -> pd.DataFrame:
        """Scores of the segments: one row per segment, with start and end in s and one column per species."""
        start, end = self.scores.segment_times()
        times = pd.DataFrame({"start": start, "end": end})
        scores = pd.DataFrame(self.scores.segments, columns=list(self.detector.species))
        return pd.concat([times, scores], axis=1)

    @property
    def windows(self) -> pd.DataFrame:
        """Scores of the windows: one row per window, with start and end in s and one column per species."""
        start = self.scores.start
        end = np.minimum(start + self.scores.length, self.scores.duration)
        times = pd.DataFrame({"start": start, "end": end})
        scores = pd.DataFrame(self.scores.windows, columns=list(self.detector.species))
        return pd.concat([times, scores], axis=1)

    def detections(self, precision: float | None = None, recall: float | None = None) -> pd.DataFrame:
        """Return the detections as a table with one row each, sorted by t_min.

        Columns are species, t_min, t_max, f_min, f_max, score, threshold, and verifiable: whether the species
        had enough training recordings to verify its threshold.

        Parameters
        ----------
        precision : target precision of each species on the out-of-fold scores, from 0.5 to 0.99. The default
            is 0.7.
        recall : target recall of each species on the out-of-fold scores, from 0.5 to 0.99; replaces
            `precision`.
        """
        return self.detections_at(self.detector.thresholds.at(precision=precision, recall=recall))

    def detections_at(self, threshold: np.ndarray) -> pd.DataFrame:
        """Return what `detections` returns, for thresholds of shape (n_species,)."""
        detector = self.detector
        return detection_table(self.detect(threshold), detector.species, detector.thresholds.verifiable)

    def detect(self, threshold: np.ndarray) -> list[Detection]:
        """Return the detections for thresholds of shape (n_species,)."""
        return detect(self.scores, threshold, self.detector.bands)

    def at_prevalence(self, prevalence: np.ndarray) -> Self:
        """Return the recording with probabilities corrected for a prevalence of shape (n_species,)."""
        detector = self.detector
        segments, windows = (
            with_prevalence(detector.probabilities(P), detector.prior, prevalence)
            for P in (self.scores.segments, self.scores.windows)
        )
        return replace(self, scores=self.scores._replace(segments=segments, windows=windows))


def _load_member(folder: Path, config: dict[str, Any]) -> TrainedMember:
    aggregation = Aggregation.from_config(config, len(config["species"]))
    if config["kind"] == EXTERNAL:
        return TrainedMember(folder.name, None, aggregation, config)
    try:
        member = member_class(config["model"])()
    except KeyError as error:
        raise ValueError(f"no member '{config['model']}' is registered") from error
    return TrainedMember(folder.name, member.scorer.load(folder, config), aggregation, config)
