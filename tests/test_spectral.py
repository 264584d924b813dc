"""Ours against librosa at the same settings."""

import librosa
import numpy as np
import pytest

from features.spectral import BLOCK, SpectralSettings, compute_frames, mel_centres, mfcc

OTHER = SpectralSettings(
    sr=22_050, n_fft=2048, hop_length=512, n_mels=40, fmin=0, fmax=11_025, n_mfcc=13, n_bands=5
)


def sound(n: int, seed: int = 0) -> np.ndarray:
    """Noise with a sweep in it: energy in every band, so that no floor is touched."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 32_000
    return (0.1 * rng.standard_normal(n) + 0.5 * np.sin(2 * np.pi * (500 + 2000 * t) * t)).astype(np.float32)


def peer(y: np.ndarray, settings: SpectralSettings) -> dict[str, np.ndarray]:
    magnitude = np.abs(librosa.stft(y, n_fft=settings.n_fft, hop_length=settings.hop_length))
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


# Lengths on, before and after a block's edge, and shorter than a frame.
@pytest.mark.parametrize("n", [100, 1024, 640 * BLOCK - 1, 640 * BLOCK, 640 * (BLOCK + 1), 200_000])
@pytest.mark.parametrize("settings", [SpectralSettings(), OTHER], ids=["default", "other"])
@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa's, of a sound shorter than a frame
def test_frames_equal_librosas(settings: SpectralSettings, n: int) -> None:
    y = sound(n)
    frames, expected = compute_frames(y, settings), peer(y, settings)
    found = {
        "log_mel": frames.log_mel,
        "mfcc": mfcc(frames.log_mel, settings.n_mfcc),
        "contrast": frames.contrast,
    }
    for name, values in found.items():
        # Relative, where values below 1 dB count as 1.
        error = np.abs(values - expected[name]) / np.maximum(np.abs(expected[name]), 1)
        if name == "contrast":
            # A valley can be a single bin of almost nothing, where either float32 transform rounds.
            assert error.max() <= 1e-3, name
            error = np.sort(error.ravel())[: max(int(0.999 * error.size), 1)]
        assert error.max() <= 1e-4, name


def test_a_click_moves_only_the_frames_it_lies_in() -> None:
    settings = SpectralSettings()
    y = 1e-4 * sound(64_000)
    clicked = y.copy()
    clicked[32_000] = 1.0
    before, after = compute_frames(y, settings), compute_frames(clicked, settings)
    moved = np.flatnonzero((before.log_mel != after.log_mel).any(axis=1))
    assert 32_000 // 640 in moved
    assert np.all(np.abs(moved * 640 - 32_000) <= settings.n_fft // 2)


def test_a_tone_is_loudest_in_its_band() -> None:
    settings = SpectralSettings()
    centres = mel_centres(settings)
    for k in (5, 20, 40, 60):
        y = np.sin(2 * np.pi * centres[k] * np.arange(32_000) / 32_000).astype(np.float32)
        assert compute_frames(y, settings).log_mel[10:40].mean(axis=0).argmax() == k


def test_silence_is_the_floor_and_has_no_contrast() -> None:
    frames = compute_frames(np.zeros(10_000, np.float32), SpectralSettings())
    assert np.allclose(frames.log_mel, -100)
    assert (frames.contrast == 0).all()
