"""Ours against librosa at the same settings."""

import librosa
import numpy as np
import pytest
import soxr

from features.frames.spectral import BLOCK, SpectralSettings, compute_frames, mel_centres, mfcc

OTHER = SpectralSettings(
    sr=22_050, n_fft=2048, hop_length=512, n_mels=40, fmin=0, fmax=11_025, n_mfcc=13, n_bands=5
)


def sound(n: int, seed: int = 0) -> np.ndarray:
    """Noise with a sweep in it: energy in every band, so that no floor is touched."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 32_000
    return (0.1 * rng.standard_normal(n) + 0.5 * np.sin(2 * np.pi * (500 + 2000 * t) * t)).astype(np.float32)


def peer(y: np.ndarray, sr: int, settings: SpectralSettings) -> dict[str, np.ndarray]:
    """librosa's features of the spectrum below settings.sr / 2, from frames of as many seconds."""
    n_fft, hop_length = settings.n_fft * sr // settings.sr, settings.hop_length * sr // settings.sr
    magnitude = np.abs(librosa.stft(y, n_fft=n_fft, hop_length=hop_length)) * settings.sr / sr
    n_bins = 1 + settings.n_fft // 2
    magnitude = np.pad(magnitude[:n_bins], ((0, max(n_bins - len(magnitude), 0)), (0, 0)))
    mel = librosa.feature.melspectrogram(
        S=magnitude**2, sr=settings.sr, n_mels=settings.n_mels, fmin=settings.fmin, fmax=settings.fmax
    )
    log_mel = librosa.power_to_db(mel, top_db=None)
    return {
        "log_mel": log_mel.T,
        "mfcc": librosa.feature.mfcc(S=log_mel, n_mfcc=settings.n_mfcc).T,
        "contrast": librosa.feature.spectral_contrast(
            S=magnitude,
            sr=settings.sr,
            n_bands=settings.n_bands,
            fmin=settings.contrast_fmin,
            quantile=settings.quantile,
        ).T,
    }


def check_against_librosa(y: np.ndarray, sr: int, settings: SpectralSettings) -> None:
    frames, expected = compute_frames([y], sr, settings), peer(y, sr, settings)
    found = {
        "log_mel": frames.log_mel,
        "mfcc": mfcc(frames.log_mel, settings.n_mfcc),
        "contrast": frames.contrast,
    }
    for name, values in found.items():
        # Relative, where values below 1 dB count as 1.
        error = np.abs(values - expected[name]) / np.maximum(np.abs(expected[name]), 1)
        if name == "contrast":
            # Where a band has bins that the rate cannot hold, librosa's own floor is another.
            upper_edges = settings.contrast_fmin * 2.0 ** np.arange(settings.n_bands + 1)
            error = error[:, upper_edges <= sr / 2]
            # A valley can be a single bin of almost nothing, where either float32 transform rounds.
            assert error.max() <= 1e-3, name
            error = np.sort(error.ravel())[: max(int(0.999 * error.size), 1)]
        assert error.max() <= 1e-4, name


@pytest.mark.parametrize("sr", [32_000, 44_100, 48_000])
def test_how_a_recording_is_cut_changes_no_frame(sr: int) -> None:
    y, rng = sound(3 * sr), np.random.default_rng(0)
    cuts = np.sort(rng.integers(0, len(y), 20))  # blocks of no sample, and shorter than a frame
    whole = compute_frames([y], sr, SpectralSettings())
    cut = compute_frames(np.split(y, [*cuts, len(y) - 3]), sr, SpectralSettings())
    assert len(whole.log_mel) == len(cut.log_mel)
    for expected, found in zip(whole, cut, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)


# Lengths on, before and after a block's edge, and shorter than a frame.
@pytest.mark.parametrize("n", [100, 1024, 640 * BLOCK - 1, 640 * BLOCK, 640 * (BLOCK + 1), 200_000])
@pytest.mark.parametrize("settings", [SpectralSettings(), OTHER], ids=["default", "other"])
@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa's, of a sound shorter than a frame
def test_frames_equal_librosas(settings: SpectralSettings, n: int) -> None:
    check_against_librosa(sound(n), settings.sr, settings)


@pytest.mark.parametrize("sr", [8_000, 16_000, 24_000, 48_000, 96_000])
def test_at_another_rate_frames_equal_librosas_at_that_rate(sr: int) -> None:
    check_against_librosa(sound(3 * sr), sr, SpectralSettings())


@pytest.mark.parametrize("sr", [22_050, 44_100, 48_000, 96_000])
def test_the_rate_moves_no_level(sr: int) -> None:
    """The same sound, sampled at another rate, has the same frames in the bands that both can hold."""
    settings = SpectralSettings()
    y = soxr.resample(sound(64_000), 32_000, 16_000)  # nothing above 8 kHz
    one, other = (
        compute_frames([soxr.resample(y, 16_000, rate)], rate, settings).log_mel for rate in (32_000, sr)
    )
    assert len(one) == len(other)
    heard = mel_centres(settings) < 7000
    np.testing.assert_allclose(one[5:-5, heard], other[5:-5, heard], atol=0.05)


def test_bands_above_half_the_rate_are_silent() -> None:
    settings = SpectralSettings()
    frames = compute_frames([sound(16_000)], 16_000, settings)
    centres = mel_centres(settings)
    assert np.allclose(frames.log_mel[:, centres > 8500], -100)
    assert (frames.log_mel[:, centres < 7500] > -60).all()


def test_a_click_moves_only_the_frames_it_lies_in() -> None:
    settings = SpectralSettings()
    y = 1e-4 * sound(64_000)
    clicked = y.copy()
    clicked[32_000] = 1.0
    before, after = (compute_frames([x], settings.sr, settings) for x in (y, clicked))
    moved = np.flatnonzero((before.log_mel != after.log_mel).any(axis=1))
    assert 32_000 // 640 in moved
    assert np.all(np.abs(moved * 640 - 32_000) <= settings.n_fft // 2)


def test_a_tone_is_loudest_in_its_band() -> None:
    settings = SpectralSettings()
    centres = mel_centres(settings)
    for k in (5, 20, 40, 60):
        y = np.sin(2 * np.pi * centres[k] * np.arange(32_000) / 32_000).astype(np.float32)
        assert compute_frames([y], settings.sr, settings).log_mel[10:40].mean(axis=0).argmax() == k


def test_silence_is_the_floor_and_has_no_contrast() -> None:
    frames = compute_frames([np.zeros(10_000, np.float32)], 32_000, SpectralSettings())
    assert np.allclose(frames.log_mel, -100)
    assert (frames.contrast == 0).all()
