"""Clips of a single long recording, which act as recordings."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from features.data.audio import Clip, Recording, file_of
from features.data.dataset import Dataset, validate_boxes_begin_inside
from features.data.metadata import later

CLIP_LENGTH = 60.0  # s; as in RFCX
MIN_CLIPS = 10  # a recording of less than ten minutes is divided into shorter clips
MIN_LENGTH = 2.0  # s; a recording with even shorter clips is not divided


def in_clips(dataset: Dataset) -> Dataset:
    """Return a data set with clips of its training recording, if it has a single one that is long enough.

    Folds need several recordings. The clips act as recordings: each is a group of its own, and has the boxes
    that overlap it by at least half of the shorter one. Labels of the whole recording do not apply to clips,
    so `train_labels` is None.

    Parameters
    ----------
    dataset : Dataset

    Raises
    ------
    AudioError
        The recording cannot be read.
    DatasetError
        A box begins after the end of the recording.

    Examples
    --------
    >>> import tempfile, soundfile
    >>> from pathlib import Path
    >>> from features.data.dataset import load_dataset
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "train").mkdir()
    >>> soundfile.write(root / "train" / "day.wav", np.zeros(40 * 8000), 8000)
    >>> header = "recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max"
    >>> _ = (root / "train_tp.csv").write_text(f"{header}\\nday,0,1,13.5,500,14.5,900\\n")
    >>> clips = in_clips(load_dataset(root))
    >>> len(clips.train), clips.tp[["recording_id", "t_min", "t_max"]].to_numpy().tolist()
    (10, [['day#3', 1.5, 2.5]])
    """
    if len(dataset.train) != 1:
        return dataset
    ((recording_id, audio),) = dataset.train.items()
    path = file_of(audio)
    # It is decoded, because the duration that an MP3 file states is an estimate.
    recording = Recording(path)
    n_samples = sum(len(block) for block in recording.blocks())
    duration = n_samples / recording.sr
    length = min(CLIP_LENGTH, duration / MIN_CLIPS)
    if length < MIN_LENGTH:
        return dataset
    validate_boxes_begin_inside(dataset, {recording_id: duration})
    edges = np.linspace(0, duration, math.ceil(duration / length) + 1)
    digits = len(str(len(edges) - 2))
    clips = {
        f"{recording_id}#{k:0{digits}}": Clip(path, float(start), float(end))
        for k, (start, end) in enumerate(pairwise(edges))
    }
    whole = dataset.site_time(recording_id, "train")
    return replace(
        dataset,
        train=clips,
        tp=_boxes_of_clips(dataset.tp, clips),
        fp=_boxes_of_clips(dataset.fp, clips),
        train_labels=None,
        groups=np.arange(len(clips)),
        site_times=dataset.site_times
        | {name: whole._replace(start=later(whole.start, clip.start)) for name, clip in clips.items()},
    )


def _boxes_of_clips(boxes: pd.DataFrame, clips: dict[str, Clip]) -> pd.DataFrame:
    """Return the boxes with times from the start of their clip, each in every clip that it belongs to."""
    parts = []
    for name, clip in clips.items():
        t_min, t_max = boxes["t_min"].clip(lower=clip.start), boxes["t_max"].clip(upper=clip.end)
        shorter = np.minimum(boxes["t_max"] - boxes["t_min"], clip.end - clip.start)
        inside = boxes.assign(recording_id=name, t_min=t_min - clip.start, t_max=t_max - clip.start)
        parts.append(inside[t_max - t_min >= shorter / 2])
    return pd.concat(parts)
