"""Choose windows to verify, add the verdicts to a data set, and estimate precision and call density.

`queue` chooses from the scores of a model, `similar` by the similarity to an example.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

import joblib
import numpy as np

from features.annotations.merging.tables import TP
from features.common.errors import UserError
from features.common.files import validate_name
from features.common.formulas import escape_formulas
from features.common.output_folder import OutputFolder
from features.data.box import Box
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
from pipelines.reviewing.population import boxed_windows, read_population
from pipelines.reviewing.queue import PAGE, VERDICTS, Queue, choose_items, write_queue
from pipelines.reviewing.similar import SIMILAR, find_similar, read_example, similar_queue
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
    _validate_new_queue(args.out)
    population = read_population(detector, args.predicted, recordings, site_times)
    verified = np.zeros(population.scores.shape, bool)
    if args.data is not None:
        dataset = load_dataset(args.data, follow_links=args.follow_links)
        verified = boxed_windows(population, dataset, detector.species)
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
    _print_queue(args.out, chosen, len(population.recordings))


def make_similar(args: argparse.Namespace) -> None:
    validate_name(Path(args.name), remedy="give another --name")
    box = None if args.box is None else Box(*args.box)
    example = read_example(args.clip, box)
    recordings, site_times = recordings_of(args.recordings, follow_links=args.follow_links)
    lock_folder(args.out, "--out")
    _validate_new_queue(args.out)
    population = find_similar(example, recordings, site_times, seed=args.seed, n_jobs=args.jobs)
    settings = example.settings
    band = (settings.fmin, settings.fmax) if box is None else (box.f_min, box.f_max)
    chosen, sampled = similar_queue(
        population, args.name, band, source=f"similar to {args.clip.name}", n=args.n
    )
    write_queue(OutputFolder(args.out, "review.py similar"), chosen, sampled, population, args.jobs)
    _print_queue(args.out, chosen, len(population.recordings))


def _validate_new_queue(out: Path) -> None:
    """Raise UserError if a folder has verdicts, which belong to the queue that is there."""
    if (out / VERDICTS).exists():
        raise UserError(f"{out}: contains {VERDICTS} for the queue there; give another folder with --out")


def _print_queue(out: Path, queue: Queue, n_recordings: int) -> None:
    n_used = queue.items["recording_id"].nunique()
    print(
        f"{out}: {len(queue.items)} windows in {n_used} of {n_recordings} recordings\n"
        f"open {out / PAGE} in a browser, and save the verdicts as {out / VERDICTS}"
    )


def apply(args: argparse.Namespace) -> None:
    folder = args.queue or args.verdicts.parent
    queue, _ = Queue.load(folder)
    verdicts = read_verdicts(args.verdicts, queue)
    is_new = not (args.data / TP).exists()
    if not is_new:
        load_dataset(args.data, follow_links=args.follow_links)  # an error here names the table to correct
    lock_tree(args.data, "--data")
    done = apply_verdicts(
        verdicts,
        args.verdicts,
        queue,
        folder,
        args.data,
        copy=args.copy,
        follow_links=args.follow_links,
    )
    load_dataset(args.data, follow_links=args.follow_links)
    print(
        f"{args.data}: {'new data set, ' if is_new else ''}{done.n_tp} TP and {done.n_fp} FP boxes and "
        f"{done.n_recordings} recordings added; "
        f"{done.n_known} boxes were there already; {done.n_unsure} windows are unsure and stay unknown"
    )


def write_estimates(args: argparse.Namespace) -> None:
    folder = args.queue or args.verdicts.parent
    queue, population = Queue.load(folder)
    verdicts = read_verdicts(args.verdicts, queue)
    if (queue.items["reason"] == SIMILAR).all():
        raise UserError(
            f"{folder}: its windows were chosen by similarity, none at random, so nothing can be estimated; "
            f"train a model, and verify a queue of 'review.py queue'"
        )
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
    print(
        f"{out}: tables by species, by site, by site and day, and by hour; report.py --estimates shows them"
    )


def main(args: argparse.Namespace) -> None:
    args.main(args)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="{queue,similar,apply,estimate}")
    choosing = commands.add_parser(
        "queue", help="choose windows to verify, and write a page for it", formatter_class=HelpFormatter
    )
    choosing.set_defaults(main=make_queue)
    searching = commands.add_parser(
        "similar", help="find windows that are similar to an example", formatter_class=HelpFormatter
    )
    searching.set_defaults(main=make_similar)
    searching.add_argument("clip", type=Path, help="recording with an example of the call")
    searching.add_argument("--name", required=True, help="name of the species")
    searching.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("T_MIN", "T_MAX", "F_MIN", "F_MAX"),
        help="where the call is, s and Hz (default: the whole clip)",
    )
    choosing.add_argument("--model", type=Path, required=True, metavar="RUN", help="folder of a run")
    choosing.add_argument(
        "--predicted",
        type=Path,
        default=Path("predicted"),
        metavar="DIR",
        help="output of predict.py for them",
    )
    choosing.add_argument("--species", nargs="+", metavar="NAME", help="species to verify (default: all)")
    choosing.add_argument(
        "--data", type=Path, metavar="DATA", help="data set; windows with a box in it are not chosen again"
    )
    adding = commands.add_parser("apply", help="add verdicts to a data set", formatter_class=HelpFormatter)
    adding.set_defaults(main=apply)
    adding.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="data set to add boxes to, or a new one"
    )
    adding.add_argument(
        "--copy", action="store_true", help="copy the recordings instead of referring to them"
    )
    estimating = commands.add_parser(
        "estimate", help="estimate precision, recall and call density", formatter_class=HelpFormatter
    )
    estimating.set_defaults(main=write_estimates)
    estimating.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the tables (default: in the queue)"
    )
    for command in (adding, estimating):
        command.add_argument("verdicts", type=Path, help="verdicts.csv, exported by the page")
        command.add_argument(
            "--queue", type=Path, metavar="DIR", help="folder of the queue (default: that of the verdicts)"
        )
    for command in (choosing, searching):
        command.add_argument("recordings", type=Path, nargs="+", help="recordings, or folders of recordings")
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
        command.add_argument("--n", type=positive, default=50, help="number of windows")
        command.add_argument(
            "--jobs", type=positive, default=joblib.cpu_count(), help="number of cores to use"
        )
    for command in (choosing, estimating):
        command.add_argument(
            "--precision",
            type=level,
            default=DEFAULT_PRECISION,
            metavar="P",
            help="precision of the thresholds",
        )
    for command in (choosing, searching, estimating):
        command.add_argument("--seed", type=natural, default=0, help="random seed")
    for command in (choosing, searching, adding):
        add_follow_links_flag(command)
    run(main, parser)
