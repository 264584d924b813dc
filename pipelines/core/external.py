"""Scores of another model, such as BirdNET or Perch, as a member of the blend."""

import argparse
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from features.common.errors import UserError
from features.data.dataset import Dataset
from features.data.species import species_numbers
from features.data.tables import column_as_numbers, read_table, validate_unique, validate_values
from models.metrics import METRICS
from models.scoring.aggregation import best_aggregation
from pipelines.core.evaluation import calibration_by_split
from pipelines.core.member import registered_members
from pipelines.core.run_config import EXTERNAL
from pipelines.core.runs import BASELINES, NewRun, RunError, run_kinds
from pipelines.core.truth import training_truth

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RESERVED = (*BASELINES, "blend", "data", "frames", "figures", "checkpoints")
"""Names that external scores must not have: a results folder uses them for runs and folders."""
MAX_NAMED = 3  # number of missing names that an error message lists


def name_and_file(text: str) -> tuple[str, Path]:
    """Return the name and the file from the value of a flag, which has the form `NAME=FILE`."""
    name, separator, file = text.partition("=")
    if not separator or not file or not NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not NAME=FILE with a NAME of letters, digits, '-' and '_'; write birdnet=scores.csv"
        )
    return name, Path(file)


def add_scores_flag(parser: argparse.ArgumentParser, description: str) -> None:
    """Add the flag `--scores NAME=FILE`, which may be repeated; `description` is its help text."""
    parser.add_argument(
        "--scores",
        type=name_and_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help=f"{description}; may be repeated",
    )


def read_external_scores(file: Path, recordings: Sequence[str], species: Sequence[str]) -> np.ndarray:
    """Return the scores in a CSV table, shape (n_recordings, n_species).

    The table has a column recording_id and one column per species, with the name of the species or its
    number as s0, s1, ... Rows and columns may be in any order. Additional rows and columns are ignored, and
    their numbers are printed.

    Parameters
    ----------
    file : the table.
    recordings : ids that need a row.
    species : names of the species that need a column.

    Raises
    ------
    DatasetError, UserError
        The file is not a CSV table; a recording or species is missing or duplicated; a score is not a
        number from 0 to 1.
    """
    table = read_table(file, ("recording_id",))
    validate_unique(table, "recording_id", file)
    number = species_numbers(species)
    columns: dict[int, str] = {}
    for column in table.columns.drop("recording_id"):
        k = number.get(column)
        if k in columns:
            raise UserError(
                f"{file}: columns '{columns[k]}' and '{column}' are for one species; remove one of them"
            )
        if k is not None:
            columns[k] = column
    _validate_complete(file, "species", expected=species, found=[species[k] for k in columns])
    _validate_complete(file, "recordings", expected=recordings, found=set(table["recording_id"]))

    scores = []
    for k in range(len(species)):
        values = column_as_numbers(table, columns[k], file)
        problem = "is above 1; give probabilities from 0 to 1"
        validate_values(table[columns[k]], values > 1, path=file, problem=problem)
        scores.append(values.to_numpy())
    row = {recording_id: k for k, recording_id in enumerate(table["recording_id"])}
    P = np.stack(scores, axis=1)[[row[recording_id] for recording_id in recordings]]
    n_rows, n_columns = len(table) - len(recordings), table.shape[1] - 1 - len(species)
    if n_rows or n_columns:
        print(f"{file}: ignored {n_rows} rows of other recordings and {n_columns} columns of other species")
    return P


def _validate_complete(file: Path, what: str, *, expected: Sequence[str], found: Collection[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        named = ", ".join(missing[:MAX_NAMED]) + (", ..." if len(missing) > MAX_NAMED else "")
        raise UserError(
            f"{file}: {len(missing)} of {len(expected)} {what} are missing ({named}); add them, named as in "
            f"the data set"
        )


def validate_names(given: Sequence[tuple[str, Path]], results: Path) -> None:
    """Raise an error if a name of `--scores` is given twice, or is the name of another run or folder.

    Parameters
    ----------
    given : names and files.
    results : results folder, whose other runs must not be replaced.
    """
    validate_given_once(given)
    kinds = {name.casefold(): kind for name, kind in run_kinds(results).items()}
    reserved = {name.casefold() for name in (*RESERVED, *registered_members())}
    for name, file in given:
        if name.casefold() in reserved or kinds.get(name.casefold(), EXTERNAL) != EXTERNAL:
            raise RunError(f"--scores {name}={file}: '{name}' is the name of another run; give another name")


def validate_given_once(given: Sequence[tuple[str, Path]]) -> None:
    """Raise UserError if a name of `--scores` is given twice."""
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--scores {name}=... is given twice; keep one")


def external_run(
    name: str,
    P: np.ndarray,
    dataset: Dataset,
    *,
    fold: np.ndarray,
    holdout: np.ndarray,
    metric: str,
    seed: int,
) -> NewRun:
    """Return a run with the scores of another model, which are calibrated out of fold.

    Parameters
    ----------
    name : name of the run.
    P : (n_train + n_test, n_species) scores of the training and test recordings.
    fold : (n_train,) fold of each training recording.
    holdout : (n_train,) bool, training recordings that the out-of-fold metrics are computed on.
    metric : name of the metric that selects the calibration.
    """
    raw, raw_test = P[: len(dataset.train)], P[len(dataset.train) :]
    truth, each = training_truth(dataset), np.arange(len(raw))  # each recording is one row
    aggregation, oof, _ = best_aggregation(raw, each, truth, fold=fold, metric=METRICS[metric])
    test = aggregation(raw_test, np.arange(len(raw_test))) if dataset.test else None
    before = raw, raw_test if dataset.test else None
    return NewRun(
        name=name,
        kind=EXTERNAL,
        oof=oof,
        test=test,
        fold=fold,
        holdout=holdout,
        seconds={"oof": 0.0, "test": 0.0},
        seed=seed,
        config=aggregation.config(),
        metrics={"calibration": calibration_by_split(dataset, before, (oof, test))},
    )


def read_new_scores(
    given: Sequence[tuple[str, Path]],
    expected: Sequence[str],
    recordings: Sequence[str],
    *,
    species: Sequence[str],
) -> Mapping[str, np.ndarray]:
    """Return the external scores of new recordings, shape (n_recordings, n_species), for each member.

    Parameters
    ----------
    given : values of `--scores`.
    expected : names of the external members of a blend.

    Raises
    ------
    UserError
        The scores of a member are missing, or scores are given for a name that is not in the blend.
    """
    validate_given_once(given)
    files = dict(given)
    for name in expected:
        if name not in files:
            raise UserError(
                f"the blend contains the member '{name}'; give its scores of these recordings with --scores "
                f"{name}=FILE"
            )
    for name in files:
        if name not in expected:
            raise UserError(
                f"--scores {name}={files[name]}: '{name}' is not part of this model; remove the flag"
            )
    return {name: read_external_scores(file, recordings, species) for name, file in files.items()}
