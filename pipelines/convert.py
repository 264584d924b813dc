"""Recordings with Raven or Audacity boxes to a data set, and a data set's boxes to such files.

convert.py import RECORDINGS --boxes DIR --out DATA    and    convert.py export DATA --out DIR
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
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
from features.data.dataset import (
    BOX_COLUMNS,
    Dataset,
    find_recordings,
    load_dataset,
    read_table,
    species_names,
)
from pipelines.core.cli import run

SUFFIXES = (".Table.1.selections.txt", ".selections.txt", ".txt")
WRITERS = {"raven": (write_raven, SUFFIXES[0]), "audacity": (write_audacity, SUFFIXES[2])}
PRESENCE = "presence.csv"
SPECIES = "species.csv"
UNKNOWN_SONGTYPE = "1"


def export_boxes(dataset: Dataset, out: Path, form: str) -> int:
    """Write a file of boxes for each training recording, and what is known of presence; return the boxes."""
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
    """Copy recordings and write the tables that their boxes make; return the data set.

    `folder` has a file of boxes for each recording, named after it, or for several, which then names them;
    `presence.csv`, if for every recording it is known what is there; and `species.csv`, if species are to
    have other numbers than by name, or some have no box.
    """
    audio = find_recordings(recordings)
    if not audio:
        raise AnnotationError(f"{recordings}: holds no recordings; give a folder of them")
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
                    f"{file}: recording '{recording_id}' has no audio in {recordings}; add it"
                )
        parts.append(boxes)
    if not parts:
        raise AnnotationError(f"{folder}: holds no .txt files of boxes; export them from Raven or Audacity")
    boxes = pd.concat(parts, ignore_index=True)
    presence = read_table(folder / PRESENCE, ("recording_id",)) if (folder / PRESENCE).exists() else None
    named = set(boxes["species"]) | set([] if presence is None else presence.columns[1:])
    species = sorted(named)
    if (folder / SPECIES).exists():
        species = species_names(folder / SPECIES)
        for name in sorted(named - set(species)):
            raise AnnotationError(
                f"{folder / SPECIES}: lacks '{name}', which boxes name; add it, or correct them"
            )
    boxes["species_id"] = boxes["species"].map({name: k for k, name in enumerate(species)})
    songtype = boxes.get("songtype", pd.Series("", boxes.index)).fillna("").replace("", UNKNOWN_SONGTYPE)
    boxes["songtype_id"] = songtype

    for path in audio.values():
        (out / "train").mkdir(parents=True, exist_ok=True)
        with replacing(out / "train" / path.name) as temporary:
            shutil.copy2(path, temporary)
    no = rejected(boxes)
    for name, part in (("train_tp.csv", boxes[~no]), ("train_fp.csv", boxes[no])):
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
    into = commands.add_parser("import", help="recordings and files of boxes to a data set")
    into.add_argument("source", type=Path, metavar="RECORDINGS", help="folder of recordings")
    into.add_argument("--boxes", type=Path, metavar="DIR", help="folder of the boxes; without it RECORDINGS")
    into.add_argument("--out", type=Path, required=True, metavar="DATA", help="where the data set goes")
    back = commands.add_parser("export", help="a data set's boxes to files")
    back.add_argument("source", type=Path, metavar="DATA", help="data set")
    back.add_argument("--format", choices=WRITERS, default="raven", help="of the files")
    back.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    run(main, parser)
