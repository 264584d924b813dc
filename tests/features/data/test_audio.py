from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.data import audio
from features.data.audio import AudioError, Clip, Recording, source_of, stated_size
from tests.conftest import forget_length, load, tone
from tests.fuzzing.audio import CONTAINERS, write_container


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
    monkeypatch.setattr(audio, "_SequentialFile", lambda _: refuse())
    for read in (source_of, Recording):
        with pytest.raises(AudioError, match=r"a\.wav: cannot be read \(Permission denied\); check"):
            read(path)


@pytest.fixture(params=CONTAINERS)
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an audio file of three seconds."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * 48_000)
    return write_container(tmp_path, request.param, noise, 48_000)


@pytest.mark.parametrize(("name", "positions"), [("w64.wav", (16, 96)), ("rf64.wav", (20, 28, 36))])
def test_file_that_states_more_than_4_gb_is_truncated(
    tmp_path: Path, name: str, positions: tuple[int, ...]
) -> None:
    """The positions are those of the sizes in the header."""
    path = write_container(tmp_path, name, np.zeros(48_000), 48_000)
    content = bytearray(path.read_bytes())
    for position in positions:
        stated = int.from_bytes(content[position : position + 8], "little")
        assert 48_000 <= stated <= 97_000
        content[position : position + 8] = (stated + 6_000_000_000).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(AudioError, match=f"{name}: truncated"):
        load(path)


def test_streamed_flac_is_read_to_its_end(tmp_path: Path) -> None:
    path, noise = tmp_path / "x.flac", 0.1 * np.random.default_rng(0).standard_normal(50_001)
    soundfile.write(path, noise, 16_000)
    expected, _ = load(path)
    forget_length(path)
    np.testing.assert_array_equal(load(path)[0], expected)
    assert stated_size(path) == (16_000, 50_001 / 16_000)
    clip = Recording(Clip(path, 1.0, 2.0))
    np.testing.assert_array_equal(np.concatenate(list(clip.blocks())), expected[16_000:32_000])


def test_whole_file_of_any_format_is_read(container: Path) -> None:
    y, sr = load(container)
    assert len(y) == pytest.approx(3 * sr, abs=2000)


@pytest.mark.parametrize("share", [0.5, 0.96, 0.999])
def test_file_that_is_cut_is_rejected(container: Path, share: float) -> None:
    content = container.read_bytes()
    container.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AudioError, match=container.name):
        load(container)


@pytest.mark.parametrize("name", ["x.mp3", "variable.mp3", "x.ogg", "opus.ogg"])
@pytest.mark.parametrize("filling", [b"", bytes(1000)])
def test_file_with_a_hole_is_rejected(tmp_path: Path, name: str, filling: bytes) -> None:
    path = write_container(tmp_path, name, 0.1 * np.random.default_rng(0).standard_normal(3 * 48_000), 48_000)
    content, middle = path.read_bytes(), path.stat().st_size // 2
    path.write_bytes(content[:middle] + filling + content[middle + 1000 :])
    with pytest.raises(AudioError, match=f"{name}: truncated"):
        load(path)


@pytest.mark.parametrize("name", ["x.mp3", "variable.mp3", "x.ogg", "opus.ogg"])
def test_file_of_two_streams_is_rejected(tmp_path: Path, name: str) -> None:
    path = write_container(tmp_path, name, np.zeros(48_000), 48_000)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(AudioError, match=f"{name}: contains a second stream, which begins at byte"):
        load(path)


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), bytes(300), b"APETAGEX" + bytes(50)])
def test_mp3_file_with_tags_is_read(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "x.mp3"
    soundfile.write(path, np.zeros(48_000), 48_000)
    before = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
    path.write_bytes(before + path.read_bytes() + tag)
    assert len(load(path)[0]) == 48_000


@pytest.mark.parametrize("sr", [1, 999, 4_000_000])
def test_implausible_sample_rate_is_rejected(tmp_path: Path, sr: int) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(100), sr)
    with pytest.raises(AudioError, match=rf"x\.wav: sample rate {sr} Hz is not between 1000 and 2000000 Hz"):
        Recording(tmp_path / "x.wav")
