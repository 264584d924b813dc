"""Convert Raven or Audacity files to a data set (import), or a data set to such files (export).

convert.py import RECORDINGS --boxes DIR --out DATA
convert.py export DATA --out DIR
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import shutil

import numpy as np
import pandas as pd

from features.common.files import replacing
from features.data.annotations import (
    AnnotationError,
    read_audacity,
    read_raven,
    rejected,
    write_audacity,
    write_raven,
)
from features.data.dataset import BOX_COLUMNS, Dataset, load_dataset, species_names
from features.data.recordings import find_recordings
from features.data.tables import read_table
from pipelines.core.cli import run

SUFFIXES = (".Table.1.selections.txt", ".selections.txt", ".txt")
WRITERS = {"raven": (write_raven, SUFFIXES[0]), "audacity": (write_audacity, SUFFIXES[2])}
PRESENCE = "presence.csv"
SPECIES = "species.csv"
UNKNOWN_SONGTYPE = "1"


def export_boxes(dataset: Dataset, out: Path, form: str) -> int:
    """Write an annotation file for each training recording; return the number of boxes.

    `species.csv` is written to the same folder, and also `presence.csv` if the data set has complete labels.
    With these tables, an import restores the data set.

    Parameters
    ----------
    form : a key of `WRITERS`.
    """
    write, suffix = WRITERS[form]
    boxes = pd.concat([dataset.tp.assign(verified="yes"), dataset.fp.assign(verified="no")])
    boxes["species"] = np.array(dataset.species)[boxes["species_id"]]
    boxes = boxes.rename(columns={"songtype_id": "songtype"})
    by_recording = dict(list(boxes.groupby("recording_id")))
    for recording_id in dataset.train:
        found = by_recording.get(recording_id, boxes.iloc[:0])
        write(out / f"{recording_id}{suffix}", found.sort_values(["t_min", "species_id"]))
    species = pd.DataFrame({"species_id": range(dataset.n_species), "name": dataset.species})
    _write(out / SPECIES, species)
    if dataset.train_labels is not None:
        table = pd.DataFrame(dataset.train_labels, index=list(dataset.train), columns=list(dataset.species))
        with replacing(out / PRESENCE) as temporary:
            table.to_csv(temporary, index_label="recording_id")
    return len(boxes)


def import_boxes(recordings: Path, folder: Path, out: Path) -> Dataset:
    """Copy recordings, write the tables of a data set from annotation files, and return the data set.

    Parameters
    ----------
    recordings : folder of recordings.
    folder : folder of annotation files, either one per recording with the name of the recording, or Raven
        tables with a column Begin File. Optional: `presence.csv` has complete 0/1 labels, with one column per
        species name; `species.csv` sets the numbers of the species.
    out : folder of the data set.

    Raises
    ------
    AnnotationError
        There are no recordings or no annotation files, or a file is invalid.
    """
    audio = find_recordings(recordings)
    if not audio:
        raise AnnotationError(f"{recordings}: no recordings found; give a folder of recordings")
    parts = []
    for file in sorted(path for path in folder.glob("*.txt") if not path.name.startswith(".")):
        raven = file.read_bytes().removeprefix(b"\xef\xbb\xbf").startswith(b"Selection\t")
        boxes = (read_raven if raven else read_audacity)(file)
        if "recording_id" not in boxes:
            suffix = next(suffix for suffix in SUFFIXES if file.name.endswith(suffix))
            boxes["recording_id"] = file.name.removesuffix(suffix)
        for recording_id in boxes["recording_id"]:
            if recording_id not in audio:
                raise AnnotationError(
                    f"{file}: recording '{recording_id}' has no audio file in {recordings}; add the file"
                )
        parts.append(boxes)
    if not parts:
        raise AnnotationError(f"{folder}: no .txt annotation files found; export them from Raven or Audacity")
    boxes = pd.concat(parts, ignore_index=True)
    presence = read_table(folder / PRESENCE, ("recording_id",)) if (folder / PRESENCE).exists() else None
    named = set(boxes["species"]) | set([] if presence is None else presence.columns[1:])
    species = sorted(named)
    if (folder / SPECIES).exists():
        species = species_names(folder / SPECIES)
        for name in sorted(named - set(species)):
            raise AnnotationError(
                f"{folder / SPECIES}: missing species '{name}' of the boxes; add it, or correct the name"
            )
    boxes["species_id"] = boxes["species"].map({name: k for k, name in enumerate(species)})
    songtype = boxes.get("songtype", pd.Series("", boxes.index)).fillna("").replace("", UNKNOWN_SONGTYPE)
    boxes["songtype_id"] = songtype

    for path in audio.values():
        (out / "train").mkdir(parents=True, exist_ok=True)
        with replacing(out / "train" / path.name) as temporary:
            shutil.copy2(path, temporary)
    is_rejected = rejected(boxes)
    for name, part in (("train_tp.csv", boxes[~is_rejected]), ("train_fp.csv", boxes[is_rejected])):
        _write(out / name, part[list(BOX_COLUMNS)])
    _write(out / SPECIES, pd.DataFrame({"species_id": range(len(species)), "name": species}))
    if presence is not None:
        labels = presence.reindex(columns=["recording_id", *species], fill_value="0")
        labels.columns = pd.Index(["recording_id", *(f"s{k}" for k in range(len(species)))])
        _write(out / "train_labels.csv", labels)
    return load_dataset(out)


def _write(file: Path, table: pd.DataFrame) -> None:
    with replacing(file) as temporary:
        table.to_csv(temporary, index=False)


def main(args: argparse.Namespace) -> None:
    if args.what == "export":
        dataset = load_dataset(args.source)
        n = export_boxes(dataset, args.out, args.format)
        print(f"{args.out}: {n} boxes of {len(dataset.train)} recordings")
    else:
        dataset = import_boxes(args.source, args.boxes or args.source, args.out)
        print(
            f"{args.out}: {len(dataset.train)} recordings, {dataset.n_species} species, "
            f"{len(dataset.tp)} TP and {len(dataset.fp)} FP boxes"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    to_dataset = commands.add_parser("import", help="convert recordings and annotation files to a data set")
    to_dataset.add_argument("source", type=Path, metavar="RECORDINGS", help="folder of recordings")
    to_dataset.add_argument(
        "--boxes", type=Path, metavar="DIR", help="folder of annotation files (default: RECORDINGS)"
    )
    to_dataset.add_argument("--out", type=Path, required=True, metavar="DATA", help="folder of the data set")
    to_files = commands.add_parser("export", help="write the boxes of a data set as annotation files")
    to_files.add_argument("source", type=Path, metavar="DATA", help="folder of the data set")
    to_files.add_argument("--format", choices=WRITERS, default="raven", help="format of the files")
    to_files.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    run(main, parser)
