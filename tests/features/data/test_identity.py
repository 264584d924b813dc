"""The identity of a data set depends on its content, not on names and times of files."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.data.audio import AudioError, Clip, Recording, source_of
from features.data.dataset import load_dataset
from features.data.identity import data_identity, validate_separate, validate_unlabelled
from features.data.tables import DatasetError


def different(first: dict[str, str], second: dict[str, str]) -> list[str]:
    assert first.keys() == second.keys()
    return [part for part in first if first[part] != second[part]]


def test_copy_has_the_same_identity(small_dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy", copy_function=shutil.copy)
    assert data_identity(load_dataset(copy)) == data_identity(load_dataset(small_dataset))


def test_recordings_of_equal_size_and_time_are_told_apart(small_dataset: Path) -> None:
    before = data_identity(load_dataset(small_dataset))
    first, second, *_ = sorted((small_dataset / "train").iterdir())
    third = small_dataset / "third"
    first.rename(third)
    second.rename(first)
    third.rename(second)
    for file in (first, second):
        os.utime(file, (0, 0))
    assert different(before, data_identity(load_dataset(small_dataset))) == ["training recordings"]


def test_renamed_test_recording_is_another_one(small_dataset: Path) -> None:
    before = data_identity(load_dataset(small_dataset))
    (small_dataset / "test" / "t0.flac").rename(small_dataset / "test" / "t9.flac")
    for table in ("sample_submission.csv", "test_labels.csv"):
        text = (small_dataset / table).read_text()
        (small_dataset / table).write_text(text.replace("t0,", "t9,"))
    found = different(before, data_identity(load_dataset(small_dataset)))
    assert found == ["test recordings"]


def test_source_depends_on_all_bytes(tmp_path: Path) -> None:
    """Size, modification time and both ends of the files are equal."""
    sources = set()
    for name, sample in (("a", 0.1), ("b", 0.2)):
        y = np.zeros(400_000)
        y[200_000] = sample
        soundfile.write(tmp_path / f"{name}.wav", y, 32_000)
        os.utime(tmp_path / f"{name}.wav", (0, 0))
        sources.add(source_of(tmp_path / f"{name}.wav"))
    assert len(sources) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_is_rejected_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for read in (source_of, Recording):
        with pytest.raises(AudioError, match=r"pipe\.wav: not a regular file; replace or remove it"):
            read(tmp_path / "pipe.wav")


def test_test_recording_that_is_a_training_recording_is_named(small_dataset: Path) -> None:
    validate_separate(load_dataset(small_dataset))
    shutil.copy(small_dataset / "train" / "a2.flac", small_dataset / "test" / "t1.flac")
    with pytest.raises(DatasetError, match=r"t1\.flac: has the same audio as the training recording 'a2'"):
        validate_separate(load_dataset(small_dataset))
    (small_dataset / "test_labels.csv").unlink()
    validate_separate(load_dataset(small_dataset))


def test_unlabelled_recording_that_has_the_training_clips_is_named(small_dataset: Path) -> None:
    dataset, long = load_dataset(small_dataset), small_dataset / "train" / "a2.flac"
    clips = replace(dataset, train={"c0": Clip(long, 0.0, 1.0), "c1": Clip(long, 1.0, 2.0)})
    validate_unlabelled({"a3": small_dataset / "train" / "a3.flac"}, clips)
    with pytest.raises(DatasetError, match=r"a2\.flac: has the same audio as the training recording 'c1'"):
        validate_unlabelled({"a2": long}, clips)
