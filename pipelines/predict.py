"""New recordings to scores, detections and tables for Raven and Audacity, by what a pipeline learned."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Iterator, Mapping

import joblib
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from features.common.errors import UserError
from features.common.files import replacing
from features.common.parallel import in_parallel
from features.data.annotations import write_audacity, write_raven
from features.data.audio import AudioError
from features.data.dataset import AUDIO_SUFFIXES, find_recordings
from models.scoring.prevalence import with_prevalence
from models.scoring.thresholds import DEFAULT_PRECISION, LEVELS
from pipelines.core.cli import positive, run
from pipelines.core.detections import Detection, boxes, detect, write_detections
from pipelines.core.detector import Recogniser, Scored
from pipelines.core.failed_recordings import FAILED, write_failed
from pipelines.core.priors import PRIOR_HELP, prevalence_of, write_prevalence


def recordings_of(paths: list[Path]) -> dict[str, Path]:
    """Return recording id -> file of files and of the audio in folders; UserError where an id comes twice."""
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise AudioError(f"{path}: no such file or folder")
        for recording_id, file in (find_recordings(path) if path.is_dir() else {path.stem: path}).items():
            if recording_id in found:
                raise UserError(
                    f"{file}: recording id '{recording_id}' is also that of {found[recording_id]}; rename one"
                )
            found[recording_id] = file
    if not found:
        raise AudioError(
            f"{', '.join(map(str, paths))}: holds no recordings; give {', '.join(AUDIO_SUFFIXES)} files, or "
            f"folders of them"
        )
    return found


def scan(
    recogniser: Recogniser, recordings: Mapping[str, Path], n_jobs: int
) -> Iterator[tuple[str, Scored | AudioError]]:
    """Yield each recording's id, and its scores or why it has none, as they come."""

    def score(path: Path) -> Scored | AudioError:
        try:
            return recogniser.score(path)
        except AudioError as error:
            return error

    torch.set_num_threads(1)  # the parallel work is outside
    scored = in_parallel(score, ((path,) for path in recordings.values()), n_jobs)
    yield from zip(recordings, scored, strict=True)


def main(args: argparse.Namespace) -> None:
    recogniser = Recogniser.load(args.model.resolve())
    recordings = recordings_of(args.recordings)
    tell_prevalence = prevalence_of(args.prior, recogniser.species)
    name = "recall" if args.recall else "precision"
    threshold = getattr(recogniser.thresholds, name)[args.recall or args.precision]

    scores: dict[str, np.ndarray] = {}
    detections: dict[str, list[Detection]] = {}
    held: dict[str, Scored] = {}  # until all scores tell the prevalence
    failed: dict[str, str] = {}
    results = scan(recogniser, recordings, args.jobs)
    for recording_id, result in tqdm(results, desc="predict", total=len(recordings), unit="recording"):
        if isinstance(result, AudioError):
            if args.strict:
                raise result
            failed[recording_id] = str(result)
            continue
        scores[recording_id] = result.recording
        if tell_prevalence is None:
            detections[recording_id] = detect(result, threshold, recogniser.bands)
        else:
            held[recording_id] = result._replace(windows=result.windows.astype(np.float32))
    write_failed(args.out, {"test": failed})
    for error in failed.values():
        print(f"no scores: {error}", file=sys.stderr)

    prevalence = np.full(len(recogniser.species), recogniser.prior)
    if tell_prevalence is not None and held:
        P = recogniser.probabilities(np.stack(list(scores.values())))
        prevalence = tell_prevalence(P, recogniser.prior)
        for recording_id, result in held.items():
            adjusted = at_prevalence(recogniser, result, prevalence)
            scores[recording_id] = adjusted.recording
            detections[recording_id] = detect(adjusted, threshold, recogniser.bands)
        write_prevalence(args.out / "prior.csv", recogniser.species, prevalence)
    write_scores(args.out, recogniser.species, scores, failed, prevalence)
    write_detections(args.out / "detections.csv", detections, recogniser.species)
    for recording_id, found in detections.items():
        table = boxes(found, recogniser.species)
        write_raven(args.out / "raven" / f"{recording_id}.Table.1.selections.txt", table)
        write_audacity(args.out / "audacity" / f"{recording_id}.txt", table)
    n = sum(map(len, detections.values()))
    says = f", as {args.out / FAILED} says" if failed else ""
    print(
        f"{args.out}: {len(scores)} recordings scored, {n} detections; {len(failed)} recordings failed{says}"
    )


def at_prevalence(recogniser: Recogniser, scored: Scored, prevalence: np.ndarray) -> Scored:
    """Return the probabilities that a recording's scores become where species are as frequent as told."""
    recording, windows = (
        with_prevalence(recogniser.probabilities(P), recogniser.prior, prevalence)
        for P in (scored.recording[None], scored.windows)
    )
    return scored._replace(recording=recording[0], windows=windows)


def write_scores(
    out: Path,
    species: tuple[str, ...],
    scores: Mapping[str, np.ndarray],
    failed: Mapping[str, str],
    prior: np.ndarray,
) -> None:
    """Write `scores.csv`, a column for each species' name, and `submission.csv` as the challenge takes it.

    A submission wants a row for every recording, so one that has no scores gets the (n_species,) `prior`.
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


def level(text: str) -> float:
    value = float(text)
    if value not in LEVELS:
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(map(str, LEVELS))}")
    return value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("recordings", type=Path, nargs="+", help="recordings, or folders of them")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="results/<data set>/gbm, gru or blend"
    )
    parser.add_argument("--out", type=Path, default=Path("predicted"), metavar="DIR", help="where tables go")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument(
        "--precision", type=level, default=DEFAULT_PRECISION, metavar="P", help=f"of the detections: {LEVELS}"
    )
    wanted.add_argument("--recall", type=level, metavar="R", help="share of recordings to find, in its place")
    parser.add_argument("--prior", default="none", metavar="none|estimate|FILE", help=PRIOR_HELP)
    parser.add_argument("--strict", action="store_true", help="stop at a recording that cannot be decoded")
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="cores to use")
    run(main, parser)
