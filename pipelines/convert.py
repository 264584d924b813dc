"""Add labels of annotation software to a data set (import), or write its boxes to such files (export).

convert.py import RECORDINGS --boxes TABLES --out DATA
convert.py export DATA --out DIR

Import reads Raven selection tables, output of BirdNET-Analyzer, Audacity label tracks, Kaleidoscope tables,
detections.csv of predict, and tables of recording, start, end and label. Only reviewed labels become boxes.
Sites and times in RECORDINGS/recordings.csv and groups in RECORDINGS/groups.csv are added, too.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

from features.annotations.exporting import (
    PER_RECORDING,
    export_camtrap,
    export_per_recording,
    export_raven,
)
from features.annotations.importing import ImportReport, import_labels
from features.common.errors import UserError
from features.common.files import real_path, validate_name_lengths
from features.common.output_folder import OutputFolder
from features.data.dataset import Dataset, load_dataset
from pipelines.core.cli import add_follow_links_flag, lock_folder, lock_tree, run

FORMATS = (*PER_RECORDING, "camtrap-dp")


def export(dataset: Dataset, args: argparse.Namespace) -> None:
    """Write the boxes of a data set in the format given by the flags, and remove those of earlier exports."""
    if real_path(args.out) == dataset.root:
        raise UserError(f"{args.out}: is the data set itself; give another folder with --out")
    if args.format == "camtrap-dp" and args.per_recording:
        raise UserError("--per-recording: a Camtrap DP package is one for all recordings; remove the flag")
    if args.format == "audacity" and not args.per_recording:
        raise UserError("--format audacity: a label track belongs to one recording; add --per-recording")
    if args.per_recording:
        suffix = PER_RECORDING[args.format][1]
        validate_name_lengths([f"{recording_id}{suffix}" for recording_id in dataset.train])
    lock_folder(args.out, "--out")
    with OutputFolder(args.out, "convert.py export").replacing(complete=True) as staged:
        if args.format == "camtrap-dp":
            export_camtrap(dataset, staged)
        elif args.per_recording:
            export_per_recording(dataset, staged, args.format)
        else:
            export_raven(dataset, staged)
    print(f"{args.out}: {len(dataset.tp) + len(dataset.fp)} boxes of {len(dataset.train)} recordings")


def report_lines(report: ImportReport) -> list[str]:
    """Return what an import did, in sentences for the terminal."""
    lines = [
        f"{name}: files {row.files}, boxes {row.boxes}; imported: TP {row.tp}, FP {row.fp}; "
        f"duplicate: {row.duplicates}; not reviewed: {row.not_reviewed}"
        for name, row in report.formats.iterrows()
    ]
    if report.formats["not_reviewed"].sum():
        lines.append(
            "boxes that were not reviewed are not imported; write 'yes' or 'no' in a column 'Verified'"
        )
    if report.without_band:
        lines.append(
            f"boxes without frequencies: {report.without_band} (imported with the median band of the "
            f"species, or the full range)"
        )
    if report.other_folders:
        listed = ", ".join(report.other_folders)
        lines.append(f"recordings found by file name, in another folder than the labels state: {listed}")
    if report.ignored:
        lines.append(f"not label files: {', '.join(sorted({path.name for path in report.ignored}))}")
    if report.new_species:
        lines.append(f"new species: {len(report.new_species)} ({', '.join(report.new_species)})")
    if report.n_moved_recordings:
        lines.append(f"recordings that were moved: {report.n_moved_recordings} (recordings.csv is updated)")
    return [*lines, f"new recordings: {report.n_new_recordings}"]


def main(args: argparse.Namespace) -> None:
    if args.what == "export":
        export(load_dataset(args.source, follow_links=args.follow_links), args)
        return
    if args.out.exists():
        lock_tree(args.out, "--out")
    report = import_labels(
        args.source,
        args.boxes or args.source,
        args.out,
        label_column=args.label_column,
        copy=args.copy,
        follow_links=args.follow_links,
    )
    print("\n".join(report_lines(report)))
    dataset = load_dataset(args.out, follow_links=args.follow_links)
    print(
        f"{args.out}: {len(dataset.train)} recordings, {dataset.n_species} species, {len(dataset.tp)} TP and "
        f"{len(dataset.fp)} FP boxes"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    to_dataset = commands.add_parser("import", help="add recordings and label files to a data set")
    to_dataset.add_argument("source", type=Path, metavar="RECORDINGS", help="folder of recordings")
    to_dataset.add_argument(
        "--boxes", type=Path, metavar="TABLES", help="label file, or folder of them (default: RECORDINGS)"
    )
    to_dataset.add_argument("--out", type=Path, required=True, metavar="DATA", help="folder of the data set")
    to_dataset.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of the species (default: Species, Annotation, Label, ...)",
    )
    to_dataset.add_argument(
        "--copy", action="store_true", help="copy the audio files to DATA instead of referring to them"
    )
    add_follow_links_flag(to_dataset)
    to_files = commands.add_parser("export", help="write the boxes of a data set as annotation files")
    to_files.add_argument("source", type=Path, metavar="DATA", help="folder of the data set")
    to_files.add_argument("--format", choices=FORMATS, default="raven", help="format of the files")
    to_files.add_argument(
        "--per-recording",
        action="store_true",
        help="write a file for each recording with boxes instead of one table for all",
    )
    add_follow_links_flag(to_files)
    to_files.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    run(main, parser)
