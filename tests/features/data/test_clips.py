"""A single long recording is divided into clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from features.data.audio import AudioError, Clip, Recording, source_of
from features.data.clips import in_clips
from features.data.dataset import BOX_COLUMNS, load_dataset
from features.data.tables import DatasetError
from features.frames.spectral import SpectralSettings
from features.frames.store import FrameStore

SR = 8000


def write_dataset(root: Path, seconds: float, boxes: list[tuple[float, float]], suffix: str = "wav") -> Path:
    """Write a data set with one recording of noise, and TP boxes at the given times."""
    (root / "train").mkdir(parents=True)
    y = np.random.default_rng(0).normal(0, 0.1, round(seconds * SR))
    soundfile.write(root / "train" / f"20240315_053000.{suffix}", y, SR)
    rows = [("20240315_053000", 0, 1, start, 500, end, 900) for start, end in boxes]
    pd.DataFrame(rows, columns=list(BOX_COLUMNS)).to_csv(root / "train_tp.csv", index=False)
    return root


def test_clips_follow_one_another_and_have_equal_lengths(tmp_path: Path) -> None:
    dataset = in_clips(load_dataset(write_dataset(tmp_path, 725, [(3, 4)])))
    clips = list(dataset.train.values())
    assert all(isinstance(clip, Clip) for clip in clips)
    assert list(dataset.train)[:2] == ["20240315_053000#00", "20240315_053000#01"]
    assert len(clips) == 13  # of at most 60 s
    edges = np.linspace(0, 725, 14)
    np.testing.assert_allclose([clip[1:] for clip in clips], np.stack([edges[:-1], edges[1:]], axis=1))
    assert len(set(dataset.groups)) == 13
    assert dataset.site_time("20240315_053000#12", "train").start == "2024-03-15T05:41:09.231"


def test_short_or_several_recordings_are_not_divided(tmp_path: Path) -> None:
    one = load_dataset(write_dataset(tmp_path / "one", 19, [(3, 4)]))
    assert in_clips(one) is one
    (path,) = one.train.values()
    two = replace(one, train={"a": path, "b": path})
    assert in_clips(two) is two


def test_box_belongs_to_each_clip_that_it_overlaps_by_half_of_the_shorter(tmp_path: Path) -> None:
    """Ten clips of 3 s."""
    boxes = [(1, 2), (2.75, 3.75), (5.5, 6.5), (8.9, 15.2), (29.0, 31.0)]
    dataset = in_clips(load_dataset(write_dataset(tmp_path, 30, boxes)))
    found = dataset.tp[["recording_id", "t_min", "t_max"]].to_numpy().tolist()
    assert sorted((name[-1], round(t_min, 6), round(t_max, 6)) for name, t_min, t_max in found) == [
        ("0", 1.0, 2.0),
        ("1", 0.0, 0.75),
        ("1", 2.5, 3.0),
        ("2", 0.0, 0.5),
        ("3", 0.0, 3.0),
        ("4", 0.0, 3.0),
        ("9", 2.0, 3.0),
    ]


def test_box_past_the_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train_tp\.csv line 2: t_min 30 is past the end"):
        in_clips(load_dataset(write_dataset(tmp_path, 30, [(30, 31)])))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_clips_together_have_the_samples_of_the_recording(tmp_path: Path, suffix: str) -> None:
    dataset = load_dataset(write_dataset(tmp_path, 25, [(3, 4)], suffix))
    (path,) = dataset.train.values()
    whole = np.concatenate(list(Recording(path).blocks()))
    clips = in_clips(dataset).train.values()
    parts = [np.concatenate(list(Recording(clip).blocks())) for clip in clips]
    assert [len(part) for part in parts[:-1]] == [round(2.5 * SR)] * 9
    found = np.concatenate(parts)
    # MP3 decoders need some samples after a jump before they are exact.
    atol = 0.05 if suffix == "mp3" else 1e-6
    np.testing.assert_allclose(found, whole[: len(found)], atol=atol)
    assert len(whole) - len(found) <= 2000


def test_clip_of_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    dataset = in_clips(load_dataset(write_dataset(tmp_path, 30, [(3, 4)], "flac")))
    *_, last = dataset.train.values()
    path = last[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match="truncated|cannot be decoded"):
        list(Recording(last).blocks())


def test_frames_of_each_clip_are_stored(tmp_path: Path) -> None:
    dataset = in_clips(load_dataset(write_dataset(tmp_path / "data", 30, [(3, 4)])))
    store = FrameStore(tmp_path / "frames", SpectralSettings())
    assert store.compute(dataset.train, "train", n_jobs=2) == {}
    extents = [store.extent(recording_id, "train") for recording_id in dataset.train]
    assert {extent.duration for extent in extents} == {3.0}
    assert len({source_of(clip) for clip in dataset.train.values()}) == 10
