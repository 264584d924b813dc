import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.common.files import replacing, write_json
from features.data.audio import AudioError, Recording
from features.frames import store as store_module
from features.frames.spectral import Spectra, SpectralSettings, compute_frames
from features.frames.store import FrameStore
from tests.conftest import load, tone

SETTINGS = SpectralSettings()


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, Path]:
    files = {name: tmp_path / f"{name}.wav" for name in "abc"}
    for k, file in enumerate(files.values()):
        soundfile.write(file, tone(1000 + 500 * k, 1.0, 32_000, k), 32_000)
    return files


def frames_of_whole(path: Path) -> Spectra:
    y, sr = load(path)
    return compute_frames([y], sr, SETTINGS)


def written(store: FrameStore) -> dict[str, int]:
    return {file.stem: file.stat().st_mtime_ns for file in store.folder.rglob("*.npz")}


def test_frames_come_back_within_half_a_float16_step(tmp_path: Path, recordings: dict[str, Path]) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    expected = frames_of_whole(recordings["b"])
    found = store.load("b", "train")
    assert store.extent("b", "train") == (len(found), 1.0)
    assert len(found) == len(expected.log_mel)
    assert np.abs(found.log_mel - expected.log_mel).max() <= 0.0313
    assert np.abs(found.contrast - expected.contrast).max() <= 0.0313


def test_a_minute_takes_at_most_0_8_megabytes(tmp_path: Path) -> None:
    file = tmp_path / "minute.wav"
    soundfile.write(file, np.random.default_rng(0).uniform(-1, 1, 60 * 32_000), 32_000)
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute({"minute": file}, "train", 1)
    (stored,) = store.folder.rglob("*.npz")
    assert stored.stat().st_size <= 800_000


def test_only_what_is_missing_is_computed(
    tmp_path: Path, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that died after two of three recordings goes on with the third."""
    store = FrameStore(tmp_path / "frames", SETTINGS)

    def die_at_c(path: Path) -> Recording:
        if path.stem == "c":
            raise KeyboardInterrupt
        return Recording(path)

    monkeypatch.setattr(store_module, "Recording", die_at_c)
    with pytest.raises(KeyboardInterrupt):
        store.compute(recordings, "train", 1)
    before = written(store)
    assert set(before) == {"a", "b"}
    monkeypatch.undo()
    store.compute(recordings, "train", 1)
    after = written(store)
    assert set(after) == {"a", "b", "c"}
    assert before.items() <= after.items()


def test_other_settings_never_read_stale_frames(tmp_path: Path, recordings: dict[str, Path]) -> None:
    first = FrameStore(tmp_path / "frames", SETTINGS)
    other = FrameStore(tmp_path / "frames", replace(SETTINGS, fmax=8000.0))
    first.compute(recordings, "train", 1)
    other.compute(recordings, "train", 1)
    assert first.folder != other.folder
    assert not np.allclose(first.load("a", "train").log_mel, other.load("a", "train").log_mel)


def test_a_changed_recording_is_computed_anew(tmp_path: Path, recordings: dict[str, Path]) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    before = written(store)
    soundfile.write(recordings["a"], tone(4000, 1.0, 32_000), 32_000)
    os.utime(recordings["a"], ns=(1, before["a"] + 10**9))
    store.compute(recordings, "train", 1)
    after = written(store)
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    expected = frames_of_whole(recordings["a"])
    np.testing.assert_allclose(store.load("a", "train").log_mel, expected.log_mel, atol=0.0313)


def test_train_and_test_recordings_of_one_name_are_two(tmp_path: Path, recordings: dict[str, Path]) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute({"x": recordings["a"]}, "train", 1)
    store.compute({"x": recordings["b"]}, "test", 1)
    assert not np.allclose(store.load("x", "train").log_mel, store.load("x", "test").log_mel)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_cannot_be_decoded_is_told_and_the_others_are_computed(
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
def test_frames_that_are_none_are_computed_anew(
    tmp_path: Path, recordings: dict[str, Path], content: bytes
) -> None:
    store = FrameStore(tmp_path / "frames", SETTINGS)
    store.compute(recordings, "train", 1)
    (file,) = store.folder.rglob("a.npz")
    expected = file.read_bytes()
    file.write_bytes(content)
    store.compute(recordings, "train", 1)
    assert file.read_bytes() == expected


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1.5, float("nan")], "b": None})
    assert (tmp_path / "x.json").read_text().split() == [
        "{",
        '"a":',
        "[",
        "1.5,",
        "null",
        "],",
        '"b":',
        "null",
        "}",
    ]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("before")

    def write_and_die() -> None:
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_die()
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
