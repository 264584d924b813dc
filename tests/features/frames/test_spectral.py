"""Frames equal librosa's features at the same settings."""

import librosa
import numpy as np
import pytest
import soxr

from features.frames.spectral import (
    BLOCK,
    MIN_RANGE,
    SpectralSettings,
    mel_centres,
    mel_range,
    mfcc,
)
from tests.conftest import whole_spectra

OTHER = SpectralSettings(
    sr=22_050, n_fft=2048, hop_length=512, n_mels=40, fmin=0, fmax=11_025, n_mfcc=13, n_bands=5
)


def noisy_sweep(n: int, seed: int = 0) -> np.ndarray:
    """Return a sweep in noise. Its energy in every band is above the lower limit of the dB scale."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 32_000
    return (0.1 * rng.standard_normal(n) + 0.5 * np.sin(2 * np.pi * (500 + 2000 * t) * t)).astype(np.float32)


def librosa_features(y: np.ndarray, sr: int, settings: SpectralSettings) -> dict[str, np.ndarray]:
    """Return librosa's features below `settings.sr` / 2, from frames of the same duration."""
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


def assert_equals_librosa(y: np.ndarray, sr: int, settings: SpectralSettings) -> None:
    frames, expected = whole_spectra([y], sr, settings), librosa_features(y, sr, settings)
    found = {
        "log_mel": frames.log_mel,
        "mfcc": mfcc(frames.log_mel, settings.n_mfcc),
        "contrast": frames.contrast,
    }
    for name, values in found.items():
        # The error is relative for values above 1 dB and absolute for values below.
        error = np.abs(values - expected[name]) / np.maximum(np.abs(expected[name]), 1)
        if name == "contrast":
            # Bands above half the sample rate are excluded, because librosa limits their values differently.
            upper_edges = settings.contrast_fmin * 2.0 ** np.arange(settings.n_bands + 1)
            error = error[:, upper_edges <= sr / 2]
            # A valley can be a single bin near zero, where both float32 transforms have rounding errors.
            assert error.max() <= 1e-3, name
            error = np.sort(error.ravel())[: max(int(0.999 * error.size), 1)]
        assert error.max() <= 1e-4, name


@pytest.mark.parametrize("sr", [32_000, 44_100, 48_000])
def test_frames_do_not_depend_on_the_block_lengths(sr: int) -> None:
    y, rng = noisy_sweep(3 * sr), np.random.default_rng(0)
    cuts = np.sort(rng.integers(0, len(y), 20))  # includes empty blocks and blocks shorter than a frame
    whole = whole_spectra([y], sr, SpectralSettings())
    cut = whole_spectra(np.split(y, [*cuts, len(y) - 3]), sr, SpectralSettings())
    assert len(whole.log_mel) == len(cut.log_mel)
    for expected, found in zip(whole, cut, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)


# Lengths shorter than a frame, and at, before and after the end of a block.
@pytest.mark.parametrize("n", [100, 1024, 640 * BLOCK - 1, 640 * BLOCK, 640 * (BLOCK + 1), 200_000])
@pytest.mark.parametrize("settings", [SpectralSettings(), OTHER], ids=["default", "other"])
@pytest.mark.filterwarnings(
    "ignore:n_fft=:UserWarning"
)  # librosa's warning about a signal shorter than a frame
def test_frames_equal_librosa(settings: SpectralSettings, n: int) -> None:
    assert_equals_librosa(noisy_sweep(n), settings.sr, settings)


@pytest.mark.parametrize("sr", [8_000, 16_000, 24_000, 48_000, 96_000])
def test_frames_at_a_different_sample_rate_equal_librosa(sr: int) -> None:
    assert_equals_librosa(noisy_sweep(3 * sr), sr, SpectralSettings())


@pytest.mark.parametrize("sr", [22_050, 44_100, 48_000, 96_000])
def test_levels_do_not_depend_on_the_sample_rate(sr: int) -> None:
    settings = SpectralSettings()
    y = soxr.resample(noisy_sweep(64_000), 32_000, 16_000)  # nothing above 8 kHz
    one, other = (
        whole_spectra([soxr.resample(y, 16_000, rate)], rate, settings).log_mel for rate in (32_000, sr)
    )
    assert len(one) == len(other)
    common = mel_centres(settings) < 7000
    np.testing.assert_allclose(one[5:-5, common], other[5:-5, common], atol=0.05)


def test_bands_above_half_the_sample_rate_are_silent() -> None:
    settings = SpectralSettings()
    frames = whole_spectra([noisy_sweep(16_000)], 16_000, settings)
    centres = mel_centres(settings)
    assert np.allclose(frames.log_mel[:, centres > 8500], -100)
    assert (frames.log_mel[:, centres < 7500] > -60).all()


def test_click_changes_only_the_frames_that_contain_it() -> None:
    settings = SpectralSettings()
    y = 1e-4 * noisy_sweep(64_000)
    clicked = y.copy()
    clicked[32_000] = 1.0
    before, after = (whole_spectra([x], settings.sr, settings) for x in (y, clicked))
    changed = np.flatnonzero((before.log_mel != after.log_mel).any(axis=1))
    assert 32_000 // 640 in changed
    assert np.all(np.abs(changed * 640 - 32_000) <= settings.n_fft // 2)


def test_tone_is_loudest_in_its_band() -> None:
    settings = SpectralSettings()
    centres = mel_centres(settings)
    for k in (5, 20, 40, 60):
        y = np.sin(2 * np.pi * centres[k] * np.arange(32_000) / 32_000).astype(np.float32)
        assert whole_spectra([y], settings.sr, settings).log_mel[10:40].mean(axis=0).argmax() == k


def test_silence_has_the_lowest_level_and_no_contrast() -> None:
    frames = whole_spectra([np.zeros(10_000, np.float32)], 32_000, SpectralSettings())
    assert np.allclose(frames.log_mel, -100)
    assert (frames.contrast == 0).all()


@pytest.mark.parametrize("frequency", [0.0, 60.0, 3000.0, 15_900.0, 40_000.0])
def test_narrow_range_is_widened_within_the_mel_bands(frequency: float) -> None:
    settings = SpectralSettings()
    centres = mel_centres(settings)
    first, stop = mel_range(frequency, frequency + 1, settings)
    assert 0 <= first < stop <= len(centres)
    assert stop - first == MIN_RANGE
    assert abs(centres[first:stop] - frequency).min() == abs(centres - frequency).min()


def test_wide_range_contains_the_bands_centred_inside() -> None:
    settings = SpectralSettings()
    centres = mel_centres(settings)
    first, stop = mel_range(2000, 4000, settings)
    inside = np.flatnonzero((centres >= 2000) & (centres <= 4000))
    assert (first, stop) == (inside[0], inside[-1] + 1)
