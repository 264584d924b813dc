"""Frames on disk are computed once, and again if the settings or the audio file change."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.data.audio import AudioError, Recording
from features.frames import store as store_module
from features.frames.frames import Frames
from features.frames.spectral import Spectra, SpectralSettings
from features.frames.store import FrameStore, frames_of, packed_frames_of_samples
from tests.conftest import load, tone, whole_spectra

SETTINGS = SpectralSettings()


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, Path]:
    files = {name: tmp_path / f"{name}.wav" for name in "abc"}
    for k, file in enumerate(files.values()):
        soundfile.write(file, tone(1000 + 500 * k, 1.0, 32_000, k), 32_000)
    return files


def spectra_of(path: Path) -> Spectra:
    y, sr = load(path)
    return whole_spectra([y], sr, SETTINGS)


def written(store: FrameStore) -> dict[str, int]:
    """Return the modification time of each stored recording."""
    return {file.stem: file.stat().st_mtime_ns for file in store.folder.rglob("*.npz")}


def test_loaded_frames_equal_computed_frames_up_to_float16(
    tmp_path: Path, recordings: dict[str, Path]
) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    expected = spectra_of(recordings["b"])
    found = store.load("b", "train")
    assert store.extent("b", "train") == (len(found), 1.0, SETTINGS.sr)
    assert len(found) == len(expected.log_mel)
    assert np.abs(found.log_mel - expected.log_mel).max() <= 0.0313
    assert np.abs(found.contrast - expected.contrast).max() <= 0.0313


def test_one_minute_takes_at_most_800_kilobytes(tmp_path: Path) -> None:
    file = tmp_path / "minute.wav"
    soundfile.write(file, np.random.default_rng(0).uniform(-1, 1, 60 * 32_000), 32_000)
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute({"minute": file}, "train", 1)
    (stored,) = store.folder.rglob("*.npz")
    assert stored.stat().st_size <= 800_000


def test_interrupted_run_continues_with_missing_recordings(
    tmp_path: Path, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)

    def interrupt_at_c(path: Path) -> Recording:
        if path.stem == "c":
            raise KeyboardInterrupt
        return Recording(path)

    monkeypatch.setattr(store_module, "Recording", interrupt_at_c)
    with pytest.raises(KeyboardInterrupt):
        store.compute(recordings, "train", 1)
    before = written(store)
    assert set(before) == {"a", "b"}
    monkeypatch.undo()
    store.compute(recordings, "train", 1)
    after = written(store)
    assert set(after) == {"a", "b", "c"}
    assert before.items() <= after.items()


def test_different_settings_have_separate_frames(tmp_path: Path, recordings: dict[str, Path]) -> None:
    first = FrameStore(tmp_path / "frames", SETTINGS)
    other = FrameStore(tmp_path / "frames", replace(SETTINGS, fmax=8000.0))
    first.compute(recordings, "train", 1)
    other.compute(recordings, "train", 1)
    assert first.folder != other.folder
    assert not np.allclose(first.load("a", "train").log_mel, other.load("a", "train").log_mel)


def test_changed_recording_is_computed_again(tmp_path: Path, recordings: dict[str, Path]) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    before = written(store)
    soundfile.write(recordings["a"], tone(4000, 1.0, 32_000), 32_000)
    os.utime(recordings["a"], ns=(1, before["a"] + 10**9))
    store.compute(recordings, "train", 1)
    after = written(store)
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    expected = spectra_of(recordings["a"])
    np.testing.assert_allclose(store.load("a", "train").log_mel, expected.log_mel, atol=0.0313)


def test_train_and_test_recordings_with_the_same_id_are_separate(
    tmp_path: Path, recordings: dict[str, Path]
) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute({"x": recordings["a"]}, "train", 1)
    store.compute({"x": recordings["b"]}, "test", 1)
    assert not np.allclose(store.load("x", "train").log_mel, store.load("x", "test").log_mel)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_undecodable_recording_is_reported_and_all_others_are_computed(
    tmp_path: Path, recordings: dict[str, Path], n_jobs: int
) -> None:
    recordings["b"].write_text("not audio")
    store = FrameStore(tmp_path / "frames", SETTINGS)
    failed = store.compute(recordings, "train", n_jobs)
    assert list(failed) == ["b"]
    assert "b.wav: cannot be decoded" in failed["b"]
    assert set(written(store)) == {"a", "c"}
    assert not list(store.folder.rglob(".*"))
    with pytest.raises(AudioError, match=r"b\.wav: cannot be decoded"):
        store.compute(recordings, "train", n_jobs, strict=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY nothing"])
def test_damaged_frame_file_is_computed_again(
    tmp_path: Path, recordings: dict[str, Path], content: bytes
) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    (file,) = store.folder.rglob("a.npz")
    expected = file.read_bytes()
    middle = len(expected) // 2
    for damaged in (content, expected[:middle] + b"\0damaged" + expected[middle + 8 :], expected[:middle]):
        file.write_bytes(damaged)
        store.compute(recordings, "train", 1)
        assert file.read_bytes() == expected


def test_frames_of_a_file_and_of_its_samples_equal_the_stored_frames(
    tmp_path: Path, recordings: dict[str, Path]
) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    expected = store.load("a", "train")
    y, sr = load(recordings["a"])
    (of_samples,) = packed_frames_of_samples(y, sr, SETTINGS)
    for found in (frames_of(recordings["a"], SETTINGS), Frames.of_packed(of_samples, SETTINGS)):
        np.testing.assert_array_equal(found.log_mel, expected.log_mel)
        np.testing.assert_array_equal(found.levels, expected.levels)
        np.testing.assert_array_equal(found.contrast, expected.contrast)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(0), r"array of shape \(0,\): audio must be one-dimensional"),
        (np.zeros((2, 100)), r"array of shape \(2, 100\): audio must be one-dimensional"),
        (np.array([0.0, np.nan]), r"array of shape \(2,\): contains samples that are NaN"),
        (np.array([0.0, -1e10]), "contains samples that are NaN, infinite or above"),
    ],
)
def test_invalid_samples_are_rejected(y: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        packed_frames_of_samples(y, 32_000, SETTINGS)
