"""Choose windows to verify, add the verdicts to a data set, and estimate precision and call density."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

import joblib
import numpy as np

from features.common.errors import UserError
from features.common.formulas import escape_formulas
from features.common.output_folder import OutputFolder
from features.data.dataset import load_dataset
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.cli import (
    HelpFormatter,
    add_follow_links_flag,
    level,
    lock_folder,
    lock_tree,
    natural,
    positive,
    run,
)
from pipelines.core.detector import Detector
from pipelines.core.new_recordings import recordings_of
from pipelines.core.prediction_store import PredictionStore
from pipelines.core.predictions import Predictions
from pipelines.reviewing.population import Population
from pipelines.reviewing.queue import PAGE, VERDICTS, Queue, choose_items, write_queue
from pipelines.reviewing.summary import MIN_VERDICTS, summarise
from pipelines.reviewing.verdicts import apply_verdicts, read_verdicts


def make_queue(args: argparse.Namespace) -> None:
    detector = Detector.load(args.model)
    recordings, site_times = recordings_of(args.recordings, follow_links=args.follow_links)
    names = list(dict.fromkeys(args.species or detector.species))
    unknown = [name for name in names if name not in detector.species]
    if unknown:
        raise UserError(
            f"--species {unknown[0]}: no species of {args.model}; use some of {', '.join(detector.species)}"
        )
    if (args.out / VERDICTS).exists():
        raise UserError(
            f"{args.out}: contains {VERDICTS} for the queue there; give another folder with --out"
        )
    store = PredictionStore.open_existing(
        args.predicted / "predictions.db", model=detector.run_id, n_species=len(detector.species)
    )
    missing = recordings.keys() - store.sources().keys()
    if missing:
        raise UserError(
            f"{args.predicted}: {len(missing)} of {len(recordings)} recordings have no scores, such as "
            f"'{min(missing)}'; run 'python pipelines/predict.py' with these recordings first"
        )
    population = Population.of(Predictions(detector, store, recordings, site_times, {}))
    verified = np.zeros(population.scores.shape, bool)
    if args.data is not None:
        verified = _with_boxes(args, population, detector)
    lock_folder(args.out, "--out")
    output = OutputFolder(args.out, "review.py queue")
    chosen, sampled = choose_items(
        population,
        detector,
        names=names,
        n=args.n,
        verified=verified,
        threshold=detector.thresholds.at(precision=args.precision),
        seed=args.seed,
    )
    write_queue(output, chosen, sampled, population, args.jobs)
    n_recordings = chosen.items["recording_id"].nunique()
    print(
        f"{args.out}: {len(chosen.items)} of {len(population)} windows, in {n_recordings} recordings\n"
        f"open {args.out / PAGE} in a browser, and save the verdicts as {args.out / VERDICTS}"
    )


def _with_boxes(args: argparse.Namespace, population: Population, detector: Detector) -> np.ndarray:
    """Return which windows have a box of the species in the data set, (n_windows, n_species) bool."""
    dataset = load_dataset(args.data, follow_links=args.follow_links)
    number = {name: k for k, name in enumerate(detector.species)}
    found = np.zeros(population.scores.shape, bool)
    for boxes in (dataset.tp, dataset.fp):
        named = boxes["species_id"].map(dict(enumerate(dataset.species))).map(number)
        found |= population.overlapping(boxes[named.notna()].assign(species_id=named.dropna().astype(int)))
    return found


def apply(args: argparse.Namespace) -> None:
    folder = args.queue or args.verdicts.parent
    queue, _ = Queue.load(folder)
    verdicts = read_verdicts(args.verdicts, queue)
    dataset = load_dataset(args.data, follow_links=args.follow_links)
    lock_tree(args.data, "--data")
    done = apply_verdicts(
        verdicts,
        args.verdicts,
        queue,
        folder,
        dataset,
        copy=args.copy,
        follow_links=args.follow_links,
    )
    load_dataset(args.data, follow_links=args.follow_links)  # an error here names the table to correct
    print(
        f"{args.data}: {done.n_tp} TP and {done.n_fp} FP boxes and {done.n_recordings} recordings added; "
        f"{done.n_known} boxes were there already; {done.n_unsure} windows are unsure and stay unknown"
    )


def write_estimates(args: argparse.Namespace) -> None:
    folder = args.queue or args.verdicts.parent
    queue, population = Queue.load(folder)
    verdicts = read_verdicts(args.verdicts, queue)
    found = summarise(queue, population, verdicts, precision=args.precision, seed=args.seed)
    if found.species.empty:
        raise UserError(
            f"{args.verdicts}: no species has {MIN_VERDICTS} verdicts of yes or no; verify more windows"
        )
    out = args.out or folder / "estimates"
    lock_folder(out, "--out")
    with OutputFolder(out, "review.py estimate").replacing(complete=True) as staged:
        for name, table in found._asdict().items():
            if name != "too_few" and len(table):
                escape_formulas(table).to_csv(staged / f"{name}.csv", index=False)
    print(found.species.to_string(index=False))
    if found.too_few:
        print(f"fewer than {MIN_VERDICTS} verdicts, so no estimate: {', '.join(found.too_few)}")
    print(f"{out}: tables by species, by site and day, and by hour")


def main(args: argparse.Namespace) -> None:
    {"queue": make_queue, "apply": apply, "estimate": write_estimates}[args.what](args)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    choosing = commands.add_parser(
        "queue", help="choose windows to verify, and write a page for it", formatter_class=HelpFormatter
    )
    choosing.add_argument("recordings", type=Path, nargs="+", help="recordings, or folders of recordings")
    choosing.add_argument("--model", type=Path, required=True, metavar="RUN", help="folder of a run")
    choosing.add_argument(
        "--predicted",
        type=Path,
        default=Path("predicted"),
        metavar="DIR",
        help="output of predict.py for them",
    )
    choosing.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    choosing.add_argument("--n", type=positive, default=50, help="number of windows")
    choosing.add_argument("--species", nargs="+", metavar="NAME", help="species to verify (default: all)")
    choosing.add_argument(
        "--data", type=Path, metavar="DATA", help="data set; windows with a box in it are not chosen again"
    )
    adding = commands.add_parser("apply", help="add verdicts to a data set", formatter_class=HelpFormatter)
    adding.add_argument("--data", type=Path, required=True, metavar="DATA", help="data set to add boxes to")
    adding.add_argument(
        "--copy", action="store_true", help="copy the recordings instead of referring to them"
    )
    estimating = commands.add_parser(
        "estimate", help="estimate precision, recall and call density", formatter_class=HelpFormatter
    )
    estimating.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the tables (default: in the queue)"
    )
    for command in (adding, estimating):
        command.add_argument("verdicts", type=Path, help="verdicts.csv, exported by the page")
        command.add_argument(
            "--queue", type=Path, metavar="DIR", help="folder of the queue (default: that of the verdicts)"
        )
    for command in (choosing, estimating):
        command.add_argument(
            "--precision",
            type=level,
            default=DEFAULT_PRECISION,
            metavar="P",
            help="precision of the thresholds",
        )
        command.add_argument("--seed", type=natural, default=0, help="random seed")
    for command in (choosing, adding):
        add_follow_links_flag(command)
    choosing.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="number of cores to use")
    run(main, parser)
