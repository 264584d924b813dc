"""Score new recordings with a trained model; write scores, detections, and files for Raven and Audacity."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from features.annotations.audacity import write_audacity
from features.annotations.raven import write_raven
from features.common.errors import UserError
from features.common.files import replacing
from features.data.audio import AudioError
from features.data.dataset import AUDIO_SUFFIXES, find_recordings
from models.scoring.thresholds import DEFAULT_PRECISION, LEVELS
from pipelines.core.cli import HelpFormatter, positive, run
from pipelines.core.detections import Detection, detection_table
from pipelines.core.detector import Detector, ScoredRecording, score_recordings
from pipelines.core.external import add_scores_flag, read_new_scores
from pipelines.core.failed_recordings import FAILED, write_failed
from pipelines.core.priors import PRIOR_HELP, prevalence_rule, write_prevalence


def recordings_of(paths: Sequence[Path]) -> dict[str, Path]:
    """Return a dict from recording id to audio file, for audio files and folders of them.

    Raises
    ------
    UserError
        A path does not exist, no recording is found, or two recordings share an id.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; correct the path")
        for recording_id, file in (find_recordings(path) if path.is_dir() else {path.stem: path}).items():
            if recording_id in found:
                raise UserError(
                    f"{file}: same recording id '{recording_id}' as {found[recording_id]}; rename one of them"
                )
            found[recording_id] = file
    if not found:
        raise UserError(
            f"{', '.join(map(str, paths))}: no recordings found; give {', '.join(AUDIO_SUFFIXES)} files, or "
            f"folders of them"
        )
    return found


def main(args: argparse.Namespace) -> None:
    detector = Detector.load(args.model)
    recordings = recordings_of(args.recordings)
    species = detector.species
    prior = prevalence_rule(args.prior, species)
    external = read_new_scores(args.scores, detector.external_members, list(recordings), species=species)
    precision = None if args.recall else args.precision
    threshold = detector.thresholds.at(precision=precision, recall=args.recall)

    scores: dict[str, np.ndarray] = {}
    detections: dict[str, list[Detection]] = {}
    waiting: dict[str, ScoredRecording] = {}  # adjusted once all recordings are scored
    failed: dict[str, str] = {}
    results = score_recordings(detector, recordings, external=external, n_jobs=args.jobs)
    for recording_id, result in tqdm(results, desc="predict", total=len(recordings), unit="recording"):
        if isinstance(result, AudioError):
            if args.strict:
                raise result
            failed[recording_id] = str(result)
            continue
        scores[recording_id] = result.scores.recording
        if prior is None:
            detections[recording_id] = result.detect(threshold)
        else:
            windows = result.scores.windows.astype(np.float32)
            waiting[recording_id] = replace(result, scores=result.scores._replace(windows=windows))
    write_failed(args.out, {"test": failed})
    for reason in failed.values():
        print(f"no scores: {reason}", file=sys.stderr)

    prevalence = np.full(len(species), detector.prior)
    if prior is not None and waiting:
        prevalence = prior(detector.probabilities(np.stack(list(scores.values()))), detector.prior)
        for recording_id, result in waiting.items():
            adjusted = result.at_prevalence(prevalence)
            scores[recording_id] = adjusted.scores.recording
            detections[recording_id] = adjusted.detect(threshold)
        write_prevalence(args.out / "prior.csv", species, prevalence)
    write_scores(args.out, species, scores, failed=failed, prior=prevalence)
    write_detections(args.out, species, detections)
    n = sum(map(len, detections.values()))
    print(f"{args.out}: {len(scores)} recordings scored, {n} detections")
    if failed:
        print(f"{len(failed)} recordings could not be decoded and have no scores; see {args.out / FAILED}")


def write_scores(
    out: Path,
    species: Sequence[str],
    scores: Mapping[str, np.ndarray],
    *,
    failed: Mapping[str, str],
    prior: np.ndarray,
) -> None:
    """Write `scores.csv`, with a column per species, and `submission.csv`, in the RFCX challenge format.

    Parameters
    ----------
    scores : recording id -> (n_species,) scores.
    failed : recordings without scores; the submission requires a row for each of them.
    prior : (n_species,) scores to write for each failed recording.
    """
    P = np.array(list(scores.values())).reshape(len(scores), len(species))
    with replacing(out / "scores.csv") as temporary:
        table = pd.DataFrame(P, index=pd.Index(list(scores)), columns=list(species))
        table.to_csv(temporary, index_label="recording_id")
    rows = np.concatenate([P, np.tile(prior, (len(failed), 1))])
    with replacing(out / "submission.csv") as temporary:
        columns = [f"s{k}" for k in range(len(species))]
        table = pd.DataFrame(rows, index=pd.Index([*scores, *failed]), columns=columns)
        table.to_csv(temporary, index_label="recording_id")


def write_detections(out: Path, species: Sequence[str], detections: Mapping[str, list[Detection]]) -> None:
    """Write `detections.csv`, and a Raven and an Audacity file per recording."""
    tables = {recording_id: detection_table(found, species) for recording_id, found in detections.items()}
    columns = ["recording_id", *Detection._fields]
    parts = [table.assign(recording_id=recording_id) for recording_id, table in tables.items() if len(table)]
    with replacing(out / "detections.csv") as temporary:
        found = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
        found.to_csv(temporary, index=False, float_format="%.6g")
    for recording_id, table in tables.items():
        write_raven(out / "raven" / f"{recording_id}.Table.1.selections.txt", table)
        write_audacity(out / "audacity" / f"{recording_id}.txt", table)


def level(text: str) -> float:
    """Return the value of a flag as a number, which must be one of `LEVELS`."""
    value = float(text)
    if value not in LEVELS:
        raise argparse.ArgumentTypeError(f"{text} is not one of {', '.join(map(str, LEVELS))}")
    return value


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
        help=f"target precision of the detections; one of {', '.join(map(str, LEVELS))}",
    )
    target.add_argument(
        "--recall",
        type=level,
        metavar="R",
        help="target recall; replaces --precision and accepts the same values",
    )
    parser.add_argument("--prior", default="none", metavar="none|estimate|FILE", help=PRIOR_HELP)
    add_scores_flag(
        parser,
        "scores of these recordings by another model in the blend: CSV file with recording_id and one column "
        "per species",
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first recording that cannot be decoded"
    )
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="number of cores to use")
    run(main, parser)
