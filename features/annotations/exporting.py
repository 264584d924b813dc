"""Export of the boxes of a data set as files for annotation software or as a Camtrap DP package."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from features.annotations.audacity import write_audacity
from features.annotations.camtrap import write_camtrap
from features.annotations.merging.tables import PRESENCE, SPECIES
from features.annotations.raven import write_raven
from features.annotations.raven_sequence import write_raven_sequence
from features.common.files import replacing
from features.common.formulas import escape_formulas
from features.data.audio import file_of, stated_size
from features.data.dataset import Dataset

Writer = Callable[[Path, pd.DataFrame], None]
PER_RECORDING: dict[str, tuple[Writer, str]] = {
    "raven": (write_raven, ".Table.1.selections.txt"),
    "audacity": (write_audacity, ".txt"),
}
"""Writer and suffix of the formats with a file per recording."""


def boxes_by_recording(dataset: Dataset) -> Iterator[tuple[str, Path, pd.DataFrame]]:
    """Yield the id, the audio file and the boxes of each training recording, with or without boxes.

    The boxes have the columns species (name), t_min, t_max, f_min, f_max, songtype, and verified: "yes" for
    TP boxes and "no" for FP boxes.
    """
    boxes = pd.concat([dataset.tp.assign(verified="yes"), dataset.fp.assign(verified="no")])
    boxes["species"] = np.array(dataset.species)[boxes["species_id"]]
    boxes = boxes.rename(columns={"songtype_id": "songtype"})
    by_recording = dict(list(boxes.groupby("recording_id")))
    for recording_id, audio in dataset.train.items():
        found = by_recording.get(recording_id, boxes.iloc[:0])
        yield recording_id, file_of(audio), found.sort_values(["t_min", "species_id"])


def export_raven(dataset: Dataset, out: Path) -> None:
    """Write `boxes.selections.txt`, one Raven selection table for all recordings, and `write_tables`.

    Raises
    ------
    AudioError
        A recording cannot be opened.
    """
    rows = ((path, stated_size(path)[1], boxes) for _, path, boxes in boxes_by_recording(dataset))
    write_raven_sequence(out / "boxes.selections.txt", rows)
    write_tables(dataset, out)


def export_per_recording(dataset: Dataset, out: Path, form: str) -> None:
    """Write a file for each recording with boxes, and `write_tables`; `form` is a key of `PER_RECORDING`."""
    write, suffix = PER_RECORDING[form]
    for recording_id, _, boxes in boxes_by_recording(dataset):
        if len(boxes):
            write(out / f"{recording_id}{suffix}", boxes)
    write_tables(dataset, out)


def export_camtrap(dataset: Dataset, out: Path) -> None:
    """Write the TP boxes as a Camtrap DP package; the folder `out` is replaced.

    Raises
    ------
    UserError
        A recording has no start with a UTC offset, or no coordinates.
    AudioError
        A recording cannot be opened.
    """
    recordings = {
        recording_id: {
            **dataset.site_time(recording_id, "train")._asdict(),
            "file": path,
            "duration": stated_size(path)[1],
        }
        for recording_id, path, _ in boxes_by_recording(dataset)
    }
    write_camtrap(
        out,
        name=dataset.name,
        classified_by="Understory",
        recordings=pd.DataFrame.from_dict(recordings, orient="index"),
        observations=(boxes.assign(recording_id=r) for r, _, boxes in boxes_by_recording(dataset)),
    )


def write_tables(dataset: Dataset, out: Path) -> None:
    """Write `species.csv`, and `presence.csv` if the data set has complete labels.

    With these tables, an import of the boxes restores the data set.
    """
    species = pd.DataFrame({"species_id": range(dataset.n_species), "name": dataset.species})
    with replacing(out / SPECIES) as temporary:
        escape_formulas(species).to_csv(temporary, index=False)
    if dataset.train_labels is not None:
        table = pd.DataFrame(dataset.train_labels, columns=list(dataset.species))
        table.insert(0, "recording_id", list(dataset.train))
        with replacing(out / PRESENCE) as temporary:
            escape_formulas(table).to_csv(temporary, index=False)
