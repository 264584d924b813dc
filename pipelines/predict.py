"""Score new recordings with a trained model; write scores, detections, and files for Raven and Audacity.

Each recording is stored in OUT/predictions.db as soon as it is scored. After an interruption, the same
command continues. Later, it only scores recordings that are new or have changed.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import time
from collections.abc import Mapping

import joblib
from tqdm import tqdm

from features.annotations.exporting import PER_RECORDING
from features.common.errors import UserError
from features.common.files import validate_name_lengths
from features.common.output_folder import OutputFolder
from features.common.table_writer import validate_parquet
from features.data.audio import warn_low_sample_rates
from models.scoring.thresholds import DEFAULT_PRECISION, MAX_LEVEL, MIN_LEVEL
from pipelines.core.cli import (
    HelpFormatter,
    add_follow_links_flag,
    add_scheduler_flag,
    level,
    lock_tree,
    positive,
    run,
)
from pipelines.core.cluster import validate_shared_file
from pipelines.core.detector import Detector
from pipelines.core.external import add_scores_flag, read_new_scores
from pipelines.core.failed_recordings import FAILED
from pipelines.core.new_recordings import recordings_of
from pipelines.core.prediction_files import FORMATS, PredictionFiles
from pipelines.core.prediction_store import PredictionStore
from pipelines.core.predictions import Predictions
from pipelines.core.priors import PRIOR_HELP, prevalence_rule
from pipelines.core.runs import has_run, run_names

MIN_INTERVAL = 300.0  # seconds between two writes of the tables while recordings are scored


def validate_output(out: Path) -> None:
    """Raise UserError if an output folder contains trained models, or cannot be written or created."""
    runs = [out.name] if has_run(out) else run_names(out)
    if runs:
        raise UserError(f"{out}: contains the run '{runs[0]}'; give another folder with --out")
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{out}: cannot be written ({existing}); give another folder with --out")


def open_store(out: Path, detector: Detector, recordings: Mapping[str, Path]) -> PredictionStore:
    """Return the store of an output folder, which is locked for this process.

    Raises
    ------
    UserError
        Another call writes to the folder, or it contains the scores of other recordings.
    """
    lock_tree(out, "--out")
    store = PredictionStore(out / "predictions.db", model=detector.run_id, n_species=len(detector.species))
    stored = store.sources().keys()
    if stored and not stored & recordings.keys():
        raise UserError(
            f"{out}: contains the scores of other recordings, such as '{min(stored)}'; give another folder "
            f"with --out, or delete this one"
        )
    if store.n_discarded:
        print(f"the model has changed, so {store.n_discarded} recordings are scored again")
    return store


def main(args: argparse.Namespace) -> None:
    detector = Detector.load(args.model)
    validate_output(args.out)  # before recordings are searched for, which can take minutes
    recordings, site_times = recordings_of(args.recordings, follow_links=args.follow_links)
    prior = prevalence_rule(args.prior, detector.species)
    external = read_new_scores(
        args.scores, detector.external_members, list(recordings), species=detector.species
    )
    precision = None if args.recall else args.precision
    threshold = detector.thresholds.at(precision=precision, recall=args.recall)
    if args.format == "parquet":
        validate_parquet()
    if args.per_recording:
        suffixes = [suffix for _, suffix in PER_RECORDING.values()]
        validate_name_lengths(f"{recording_id}{suffix}" for suffix in suffixes for recording_id in recordings)

    validate_shared_file(next(iter(recordings.values())))
    store = open_store(args.out, detector, recordings)
    output = OutputFolder(args.out, "predict.py")
    predictions = Predictions(detector, store, recordings, site_times, external)
    files = PredictionFiles(output, predictions, prior, threshold, args.format, args.per_recording)
    missing = predictions.missing()
    if len(missing) < len(recordings):
        print(f"{len(recordings) - len(missing)} of {len(recordings)} recordings are already scored")
    failed: dict[str, str] = {}
    written, cost = time.monotonic(), 0.0
    audio, started = 0.0, time.monotonic()
    progress = tqdm(predictions.score(missing, args.jobs), "predict", len(missing), unit="recording")
    for recording_id, outcome in zip(missing, progress, strict=True):
        if outcome.error is not None:
            if args.strict:
                raise outcome.error
            failed[recording_id] = str(outcome.error)
            print(f"no scores: {outcome.error}", file=sys.stderr)
        audio += outcome.duration / 3600
        rate = audio / (time.monotonic() - started)
        progress.set_postfix_str(f"{rate:.3g} h of audio/s, {len(failed)} failed", refresh=False)
        if time.monotonic() > written + max(MIN_INTERVAL, 20 * cost):
            before = time.monotonic()
            files.write_tables()
            written = time.monotonic()
            cost = written - before
    warn_low_sample_rates(store.read_sample_rates(), detector.sample_rate)
    n_detections = files.write(failed)
    n_scored = len(store.sources())
    print(f"{args.out}: {n_scored} recordings scored, {n_detections} detections")
    if failed:
        print(f"{len(failed)} recordings could not be read and have no scores; see {args.out / FAILED}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("recordings", type=Path, nargs="+", help="recordings, or folders of recordings")
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of a run, such as results/synthetic/blend",
    )
    parser.add_argument("--out", type=Path, default=Path("predicted"), metavar="DIR", help="output folder")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--precision",
        type=level,
        default=DEFAULT_PRECISION,
        metavar="P",
        help=f"target precision of the detections, from {MIN_LEVEL} to {MAX_LEVEL}",
    )
    target.add_argument(
        "--recall",
        type=level,
        metavar="R",
        help=f"target recall, from {MIN_LEVEL} to {MAX_LEVEL}; replaces --precision",
    )
    parser.add_argument("--prior", default="none", metavar="none|estimate|FILE", help=PRIOR_HELP)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="format of scores and detections; camtrap-dp adds a Camtrap DP package to the CSV files",
    )
    parser.add_argument(
        "--per-recording",
        action="store_true",
        help="also write a Raven and an Audacity file for each recording with detections",
    )
    add_scores_flag(
        parser,
        "scores of these recordings by another model in the blend: CSV file with recording_id and one column "
        "per species",
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first recording that cannot be read"
    )
    add_follow_links_flag(parser)
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="number of cores to use")
    add_scheduler_flag(parser)
    run(main, parser, continues=True)
