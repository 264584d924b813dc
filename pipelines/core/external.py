"""Scores of another model, such as BirdNET or Perch, as a member of the blend."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from features.common.errors import UserError
from features.data.dataset import Dataset
from features.data.tables import column_as_numbers, read_table, validate_rows, validate_unique
from models.metrics import METRICS
from models.scoring.aggregation import best_aggregation
from pipelines.core.evaluation import calibration_by_split
from pipelines.core.member import registered_members
from pipelines.core.runs import EXTERNAL, NewRun, RunError, read_config, run_names, write_run
from pipelines.core.task import training_truth

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RESERVED = {"prior", "background", "blend", "data", "frames", "figures", "checkpoints"}
MAX_NAMED = 3  # missing ids that a message names


def name_and_file(text: str) -> tuple[str, Path]:
    """Return name and file of a flag's value `NAME=FILE`."""
    name, separator, file = text.partition("=")
    if not separator or not file or not NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not NAME=FILE with a NAME of letters, digits, '-' and '_'; write birdnet=scores.csv"
        )
    return name, Path(file)


def read_external_scores(file: Path, recordings: Sequence[str], species: Sequence[str]) -> np.ndarray:
    """Return (n_recordings, n_species) scores from a CSV table of recording_id and one column per species.

    Columns are named by species, or s0, s1, ... by number. Rows and columns may have any order. Other
    recordings and species are ignored, with a printed note.

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
    column = {name: name for name in table.columns if name in species}
    for k, name in enumerate(species):
        if f"s{k}" in table.columns and f"s{k}" != name:
            if name in column:
                raise UserError(f"{file}: columns '{name}' and 's{k}' are one species; remove one of them")
            column[name] = f"s{k}"
    _validate_complete(file, "species", species, column)
    _validate_complete(file, "recordings", recordings, set(table["recording_id"]))

    scores = []
    for name in species:
        values = column_as_numbers(table, column[name], file)
        message = f"{column[name]} '{{{column[name]}}}' is above 1; give probabilities from 0 to 1"
        validate_rows(table, values > 1, path=file, message=message)
        scores.append(values.to_numpy())
    row = {recording_id: k for k, recording_id in enumerate(table["recording_id"])}
    P = np.stack(scores, axis=1)[[row[recording_id] for recording_id in recordings]]
    n_columns, n_rows = table.shape[1] - 1 - len(species), len(table) - len(recordings)
    if n_columns or n_rows:
        print(f"{file}: {n_rows} other recordings and {n_columns} other columns are ignored")
    return P


def _validate_complete(file: Path, what: str, expected: Sequence[str], found: object) -> None:
    missing = [name for name in expected if name not in found]  # type: ignore[operator]
    if missing:
        named = ", ".join(missing[:MAX_NAMED]) + (", ..." if len(missing) > MAX_NAMED else "")
        raise UserError(
            f"{file}: {len(missing)} of {len(expected)} {what} are missing ({named}); add them, named as in "
            f"the data set"
        )


def write_external_run(
    results: Path, dataset: Dataset, scores: tuple[str, Path], *, fold: np.ndarray, metric: str, seed: int
) -> None:
    """Calibrate the scores of another model out of fold and write them as a run.

    Parameters
    ----------
    scores : name of the run, and the table with the scores of all training and test recordings.
    fold : (n_train,) fold of each training recording.
    metric : name of the metric that selects the calibration.
    """
    name, file = scores
    taken = RESERVED | set(registered_members())
    if name in taken or (name in run_names(results) and read_config(results / name)["kind"] != EXTERNAL):
        raise RunError(f"--scores {name}={file}: '{name}' is the name of another run; give another name")
    P = read_external_scores(file, [*dataset.train, *dataset.test], dataset.species)
    raw, raw_test = P[: len(dataset.train)], P[len(dataset.train) :]
    truth, each = training_truth(dataset), np.arange(len(raw))  # a recording is one row
    aggregation, oof, _ = best_aggregation(raw, each, truth, fold=fold, metric=METRICS[metric])
    test = aggregation(raw_test, np.arange(len(raw_test))) if dataset.test else None
    before = raw, raw_test if dataset.test else None
    run = NewRun(
        name=name,
        kind=EXTERNAL,
        oof=oof,
        test=test,
        fold=fold,
        seconds={"oof": 0.0, "test": 0.0},
        seed=seed,
        config=aggregation.config(),
        metrics={"calibration": calibration_by_split(dataset, before, (oof, test))},
    )
    write_run(results, dataset, run)


def read_new_scores(
    given: Sequence[tuple[str, Path]],
    expected: Sequence[str],
    recordings: Sequence[str],
    species: Sequence[str],
) -> Mapping[str, np.ndarray]:
    """Return the external scores of new recordings: name of the member -> (n_recordings, n_species).

    Parameters
    ----------
    given : values of `--scores`.
    expected : names of the external members of a blend.

    Raises
    ------
    UserError
        A member's scores are missing, or scores are given that are not part of the blend.
    """
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
