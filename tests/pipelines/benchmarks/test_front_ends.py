"""Front ends of the ablation: PCEN and spectral gating on known levels."""

import librosa
import numpy as np
import pytest

from features.frames.frames import Frames
from pipelines.benchmarks.front_ends import CLOSED, GatedScorer, PCENScorer, pcen, spectral_gating
from pipelines.members.gru import GRUScorer


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Return noise with a call in bands 10 to 12."""
    log_mel = np.random.default_rng(0).normal(-60, 1, (400, 64)).astype(np.float32)
    log_mel[200:220, 10:13] += 30
    return Frames.of(log_mel, contrast=np.zeros((400, 7), np.float32))


def test_pcen_is_that_of_librosa_with_time_first(frames: Frames) -> None:
    S = 2**31 * 10 ** (frames.log_mel.T / 20)
    expected = librosa.pcen(S, sr=50, hop_length=1, gain=0.8, bias=10, power=0.25, time_constant=0.06)
    np.testing.assert_allclose(pcen(frames, 50.0), expected.T, rtol=1e-4)


def test_gate_keeps_calls_and_removes_noise(frames: Frames) -> None:
    change = spectral_gating(frames) - frames.levels
    assert change[208:212, 11].min() > 0.5 * CLOSED
    assert change[50:150, 30:].mean() < 0.8 * CLOSED
    assert change.max() <= 1e-4
    assert change.min() >= CLOSED - 1e-3


@pytest.mark.parametrize("scorer", [PCENScorer, GatedScorer])
def test_scorers_of_other_front_ends_have_other_inputs(frames: Frames, scorer: type[GRUScorer]) -> None:
    starts = np.array([0, 180])
    found, usual = (kind(()).inputs(frames, starts, 50) for kind in (scorer, GRUScorer))
    assert found.shape == usual.shape == (2, 25, 64)
    assert np.isfinite(found).all()
    assert not np.allclose(found, usual)
