"""`Detector`: scores, tables and detections of new recordings, and errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.columns.window_features import WindowFeatures
from features.common.errors import UserError
from features.data.audio import AudioError
from features.frames.store import packed_frames
from models.logistic import IDENTITY
from models.scoring.aggregation import Aggregation
from models.scoring.blending import Blend
from models.scoring.calibration import PlattCalibrator
from pipelines.core.detector import ALONE, Detector, ScoredRecording, TrainedMember
from pipelines.core.runs import Scores
from tests.conftest import load

SPECIES = ["coqui", "owl", "frog"]


@pytest.fixture(scope="module")
def recording(trained: tuple[Path, Path]) -> Path:
    return trained[0] / "test" / "t0.flac"


@pytest.fixture(scope="module")
def detector(trained: tuple[Path, Path]) -> Detector:
    return Detector.load(trained[1] / "blend")


@pytest.fixture(scope="module")
def scored(detector: Detector, recording: Path) -> ScoredRecording:
    return detector.score(recording)


@pytest.fixture(scope="module")
def with_external(detector: Detector) -> Detector:
    """Return a detector whose second member `other` has external scores and half of the weight."""
    aggregation = Aggregation("max", PlattCalibrator.of(np.tile(IDENTITY, (3, 1))))
    (first, *_) = detector.members
    return replace(
        detector,
        members=(first, TrainedMember("other", None, aggregation)),
        blend=Blend("probability", (0.5, 0.5)),
    )


def test_folder_and_recording_can_be_text_or_path(
    trained: tuple[Path, Path], recording: Path, scored: ScoredRecording
) -> None:
    detector = Detector.load(str(trained[1] / "blend"))
    assert detector.folder == trained[1] / "blend"
    np.testing.assert_array_equal(detector.score(str(recording)).recording, scored.recording)


def test_inputs_that_members_share_are_computed_once(
    trained: tuple[Path, Path], recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, again = (Detector.load(trained[1] / "gbm") for _ in range(2))  # loaded twice, as from two runs
    members = (alone.members[0], again.members[0]._replace(name="again"))
    both = replace(alone, members=members, blend=Blend("probability", (0.5, 0.5)))
    computed = []
    transform = WindowFeatures.transform
    monkeypatch.setattr(WindowFeatures, "transform", lambda *args: computed.append(1) or transform(*args))
    scores = both.score(recording).recording
    assert len(computed) == 1
    np.testing.assert_allclose(scores, alone.score(recording).recording)


@pytest.mark.parametrize("model", ["gbm", "gru", "blend"])
def test_recording_has_the_same_scores_as_in_training(
    trained: tuple[Path, Path], recording: Path, model: str
) -> None:
    expected = Scores.load(trained[1] / model / "test.npz")
    found = Detector.load(trained[1] / model).score(recording)
    np.testing.assert_allclose(found.recording, expected.scores[0], atol=1e-6)


def test_array_has_the_scores_of_a_file_with_the_same_samples(
    detector: Detector, recording: Path, scored: ScoredRecording
) -> None:
    y, sr = load(recording)
    found = detector.score_array(y, sr)
    np.testing.assert_array_equal(found.scores.recording, scored.scores.recording)
    np.testing.assert_array_equal(found.scores.windows, scored.scores.windows)
    assert found.windows.equals(scored.windows)


def test_invalid_array_is_an_audio_error(detector: Detector) -> None:
    for y in (np.empty(0), np.zeros((100, 2)), np.full(100, np.nan)):
        with pytest.raises(AudioError, match="array of shape"):
            detector.score_array(y, 32_000)


def test_tables_have_the_documented_columns(scored: ScoredRecording) -> None:
    assert list(scored.recording.index) == SPECIES
    assert list(scored.windows.columns) == ["start", "end", *SPECIES]
    # Windows of 1 s with a hop of 0.5 s in a recording of 2 s.
    np.testing.assert_allclose(scored.windows["start"], [0.0, 0.5, 1.0], atol=0.02)
    np.testing.assert_allclose(scored.windows["end"], [1.0, 1.5, 2.0], atol=0.02)
    np.testing.assert_array_equal(scored.windows[SPECIES], scored.scores.windows)
    columns = ["species", "t_min", "t_max", "f_min", "f_max", "score", "threshold", "verifiable"]
    assert list(scored.detections(recall=0.5).columns) == columns


def test_detections_are_those_at_the_threshold_of_the_level(scored: ScoredRecording) -> None:
    thresholds = scored.detector.thresholds
    found = scored.detections(recall=0.975)
    expected = thresholds.at(recall=0.975)
    reported = [
        name
        for name, score, threshold in zip(SPECIES, scored.recording, expected, strict=True)
        if score >= threshold
    ]
    assert reported
    assert sorted(set(found["species"])) == sorted(reported)
    for name, threshold in zip(found["species"], found["threshold"], strict=True):
        assert threshold == expected[SPECIES.index(name)]
    assert scored.detections().equals(scored.detections(precision=0.7))


def test_level_outside_the_range_is_an_error(scored: ScoredRecording) -> None:
    with pytest.raises(UserError, match=r"level 0\.49 is outside 0\.5 to 0\.99"):
        scored.detections(precision=0.49)
    with pytest.raises(UserError, match=r"level 1\.5 is outside 0\.5 to 0\.99"):
        scored.detections(recall=1.5)
    with pytest.raises(UserError, match=r"precision 0\.7 and recall 0\.5 are both given"):
        scored.detections(precision=0.7, recall=0.5)


def test_species_with_few_positive_recordings_is_not_verifiable(detector: Detector) -> None:
    assert detector.thresholds.n_positive.tolist() == [2, 2, 2]
    assert not detector.thresholds.verifiable.any()


def test_prevalence_of_training_leaves_probabilities_unchanged(scored: ScoredRecording) -> None:
    detector = scored.detector
    same = scored.at_prevalence(np.full(3, detector.prior))
    expected = detector.probabilities(scored.scores.recording[None])[0]
    np.testing.assert_allclose(same.scores.recording, expected, atol=1e-9)
    higher = scored.at_prevalence(np.array([0.9, detector.prior, 0.01]))
    assert higher.scores.recording[0] > expected[0]
    assert higher.scores.recording[2] < expected[2]
    assert (higher.scores.windows[:, 0] >= same.scores.windows[:, 0]).all()


def test_external_scores_enter_the_blend(
    with_external: Detector, detector: Detector, recording: Path
) -> None:
    assert detector.external_members == []
    assert with_external.external_members == ["other"]
    alone = replace(with_external, members=with_external.members[:1], blend=ALONE).score(recording)
    other = np.array([0.2, 0.6, 0.9])
    found = with_external.score(recording, {"other": other})
    np.testing.assert_allclose(found.recording, (alone.recording + other) / 2)
    # External scores are the same for all windows.
    np.testing.assert_allclose(found.scores.windows, (alone.scores.windows + other) / 2)


def test_missing_external_scores_are_an_error(with_external: Detector, recording: Path) -> None:
    with pytest.raises(UserError, match=r"contains scores of 'other'; give them as external\['other'\]"):
        with_external.score(recording)
    with pytest.raises(UserError, match="contains scores of 'other'"):
        with_external.score(recording, {"another": np.zeros(3)})


def test_unknown_external_scores_can_be_zero(with_external: Detector, recording: Path) -> None:
    zeros = with_external.zero_external_scores()
    assert {name: P.tolist() for name, P in zeros.items()} == {"other": [0.0, 0.0, 0.0]}
    assert (with_external.score(recording, zeros).recording <= 0.5).all()


def test_long_recording_is_scored_in_segments(
    detector: Detector, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    parts = [load(trained[0] / "train" / f"a{k}.flac") for k in range(3)]
    sr = parts[0][1]
    y = np.concatenate([y for y, _ in parts])[: 5 * sr]  # segments from 0, 2 and 3 s
    soundfile.write(tmp_path / "long.wav", y, sr, subtype="FLOAT")
    found = detector.score(tmp_path / "long.wav")
    np.testing.assert_allclose(found.segments[["start", "end"]], [[0, 2], [2, 4], [3, 5]])
    packed = np.concatenate(list(packed_frames(tmp_path / "long.wav", detector.settings)))
    for k, first in enumerate((0, 2, 3)):
        alone = detector.score_frames([packed[50 * first : 50 * first + 101]])
        np.testing.assert_array_equal(found.scores.segments[k], alone.scores.recording)
    np.testing.assert_array_equal(found.recording, found.segments[SPECIES].max(axis=0))
    assert found.windows["start"].iloc[-1] == pytest.approx(4.0)


def test_recording_with_a_lower_sample_rate_is_a_warning(detector: Detector, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "low.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 8000)
    with pytest.warns(UserWarning, match=r"lower sample rate .*16000 Hz\), such as 'low\.wav' with 8000 Hz"):
        detector.score(tmp_path / "low.wav")


def test_undecodable_recording_is_an_audio_error(detector: Detector, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 32_000)
    with pytest.raises(AudioError, match=r"empty\.wav: contains no samples"):
        detector.score(tmp_path / "empty.wav")
