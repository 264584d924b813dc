from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.data import audio
from features.data.audio import AudioError, Recording, source_of
from tests.conftest import load, tone


def peak_frequency(y: np.ndarray, sr: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(y))) * sr / len(y))


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".ogg", ".mp3"])
@pytest.mark.parametrize("sr", [22_050, 32_000, 48_000])
def test_pitch_and_duration_are_preserved_in_every_format(tmp_path: Path, suffix: str, sr: int) -> None:
    file = tmp_path / f"x{suffix}"
    soundfile.write(file, tone(1000, 1.5, sr), sr)
    y, rate = load(file)
    assert rate == sr
    assert y.dtype == np.float32
    assert y.ndim == 1
    assert abs(len(y) / sr - 1.5) < (0.1 if suffix == ".mp3" else 0.001)  # MP3 has a whole number of frames
    assert abs(peak_frequency(y, sr) - 1000) < 2
    assert np.sqrt(np.mean(y[sr // 4 : sr * 5 // 4] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(500, 0.2, 32_000, 1), tone(900, 0.2, 32_000, 2)
    soundfile.write(tmp_path / "x.wav", np.column_stack([left, right, left]), 32_000, subtype="FLOAT")
    expected = (2 * left + right) / 3
    np.testing.assert_allclose(load(tmp_path / "x.wav")[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"recording_id,s0\n", "cannot be decoded"),
        (b"", "cannot be decoded"),
    ],
)
def test_undecodable_file_is_rejected(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "broken.flac"
    file.write_bytes(content)
    with pytest.raises(AudioError, match=rf"broken\.flac: {message}.*replace or remove"):
        load(file)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_file_is_rejected(tmp_path: Path, suffix: str, kept: float) -> None:
    file = tmp_path / f"x{suffix}"
    soundfile.write(file, tone(1000, 5, 32_000), 32_000)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=rf"x\{suffix}: (truncated|cannot be decoded)"):
        load(file)


def test_recording_is_decoded_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.random.default_rng(0).uniform(-1, 1, (10_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", y, 32_000, subtype="FLOAT")
    monkeypatch.setattr(audio, "BLOCK", 2 * 3_000)
    recording = Recording(tmp_path / "x.wav")
    blocks = list(recording.blocks())
    assert [len(block) for block in blocks] == [3_000, 3_000, 3_000, 1_000]
    assert recording.n_samples == 10_000
    np.testing.assert_allclose(np.concatenate(blocks), y.mean(axis=1), atol=1e-7)


def test_wav_written_to_a_pipe_is_read_completely(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    soundfile.write(file, tone(1000, 1, 32_000), 32_000)
    content = bytearray(file.read_bytes())
    size = content.index(b"data") + 4
    content[size : size + 4] = b"\xff" * 4
    file.write_bytes(content)
    assert len(load(file)[0]) == 32_000


@pytest.mark.parametrize("samples", [[], [0.0, np.nan, 0.0], [0.0, np.inf], [0.0, 1e10]])
def test_missing_or_non_finite_samples_are_rejected(tmp_path: Path, samples: list[float]) -> None:
    soundfile.write(tmp_path / "x.wav", np.array(samples, np.float32), 32_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"x\.wav: contains (no samples|samples that are NaN)"):
        load(tmp_path / "x.wav")


def test_unreadable_and_missing_files_are_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    for read in (source_of, Recording):
        with pytest.raises(AudioError, match=r"a\.wav: missing \(moved, renamed or deleted\)"):
            read(path)
    soundfile.write(path, np.zeros(100), 8000)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(soundfile, "SoundFile", lambda _: refuse())
    for read in (source_of, Recording):
        with pytest.raises(AudioError, match=r"a\.wav: cannot be read \(Permission denied\); check"):
            read(path)
