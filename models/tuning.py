"""Tuning of an estimator's parameters by an Optuna study on out-of-fold scores."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sklearn.base import BaseEstimator
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from features.common.errors import UserError
from models.folds import Fold, out_of_fold
from models.metrics import block_scores, standard_error
from models.scoring.aggregation import best_aggregation
from models.scoring.pooling import pool

VERSION = 5  # increase it when the same parameters and data give a trial a different value

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
BLOCK_SCORES = "block_scores"
"""User attribute of a complete trial: a list with the block scores after each fold, then those of its final
out-of-fold scores."""


@dataclass(frozen=True)
class CrossValidation:
    """The data and the metric for scoring a trial.

    Attributes
    ----------
    folds : sequence of Fold
        Training examples and held-out windows of each fold.
    first : (n_recordings,) index of the first window of each recording.
    fold : (n_recordings,) fold of each recording, from 0.
    truth : (n_recordings, n_species) truth, 1, 0 or nan for unknown.
    metric : function `metric(Y, P)` of truth and scores; higher is better.
    """

    folds: Sequence[Fold]
    first: np.ndarray
    fold: np.ndarray
    truth: np.ndarray
    metric: Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class SearchSpace:
    """The parameters to search.

    Attributes
    ----------
    distributions : dict from the name of each parameter to its distribution.
    defaults : dict from the name of each parameter to its value in the first trial.
    """

    distributions: Mapping[str, BaseDistribution]
    defaults: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """An Optuna study in a database.

    Attributes
    ----------
    database : SQLite file.
    name : name of the study in the database.
    n_trials : total number of trials, including finished ones.
    seed : random seed.
    """

    database: Path
    name: str
    n_trials: int
    seed: int


@dataclass(frozen=True)
class Tuned:
    """The result of a study.

    Attributes
    ----------
    parameters : dict from the name of each parameter to its value.
    scores : (n_windows, n_species) out-of-fold window scores with these parameters.
    seconds : time of fitting and scoring the models of all folds with these parameters.
    """

    parameters: dict[str, Any]
    scores: np.ndarray
    seconds: float


def database_url(file: Path) -> str:
    """Return the URL of an SQLite file for Optuna and its dashboard.

    Examples
    --------
    >>> database_url(Path("/results/optuna.db"))
    'sqlite:////results/optuna.db'
    >>> database_url(Path("/results?/optuna.db"))
    'sqlite:////results%3F/optuna.db'
    """
    return URL.create("sqlite", database=str(file)).render_as_string()


def tune(
    make_model: Callable[[dict[str, Any]], BaseEstimator],
    validation: CrossValidation,
    *,
    space: SearchSpace,
    study: Study,
) -> Tuned:
    """Return the parameters that a study selects, after running trials until it has `n_trials`.

    The first trial uses the default parameters. It is selected unless the best trial is better by more than
    one standard error of the paired difference. In general, the first trial that is as good as the best is
    selected. Rounding errors differ between machines; they would change the selection more often if the
    highest value alone determined it. A trial is pruned as soon as it is behind the best one by more than
    one standard error on the same folds.

    Every trial is stored as soon as it ends, so an interrupted study can be continued. Trial n is drawn with
    the seed `study.seed + n`, so a continued study has the same trials as an uninterrupted one.

    Parameters
    ----------
    make_model : function that returns an unfitted estimator for a dict of parameters.
    validation : data and metric.
    space : parameters to search.
    study : where trials are stored, and how many to run.

    Raises
    ------
    UserError
        The database cannot be read or written, or a trial's model cannot be fitted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study.database.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _tune(make_model, validation, space=space, study=study)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, _InvalidStudyError) as error:
        cause = error if isinstance(error, _InvalidStudyError) else error.__cause__ or error
        reason = str(cause).splitlines()[0]
        raise UserError(
            f"{study.database}: the study cannot be read or written ({reason}); check disk space and "
            f"permissions, or remove the file if it is not a study"
        ) from error


def cross_validate(model: BaseEstimator, folds: Sequence[Fold]) -> tuple[np.ndarray, float]:
    """Return the out-of-fold scores of a model, (n_windows, n_species), and the seconds that they took."""
    started = time.perf_counter()
    *_, P = tqdm(out_of_fold(model, folds), desc="folds", total=len(folds), unit="fold")
    return P, time.perf_counter() - started


def _tune(
    make_model: Callable[[dict[str, Any]], BaseEstimator],
    validation: CrossValidation,
    *,
    space: SearchSpace,
    study: Study,
) -> Tuned:
    try:
        stored = optuna.create_study(
            study_name=study.name,
            storage=database_url(study.database),
            direction="maximize",
            load_if_exists=True,
        )
    except RuntimeError as error:  # another version of Optuna wrote the file
        raise _InvalidStudyError(str(error)) from error
    for interrupted in stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        stored.tell(interrupted.number, state=TrialState.FAIL)
    n_done = len(stored.get_trials(deepcopy=False, states=FINISHED))
    n_trials = study.n_trials
    scored: dict[int, tuple[np.ndarray, float]] = {}  # scores and seconds of the trials run here
    with tqdm(desc="study", initial=min(n_done, n_trials), total=n_trials, unit="trial") as progress:
        while n_done < n_trials:
            waiting = stored.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if n_done == 0 and not waiting:
                stored.enqueue_trial(dict(space.defaults))
            stored.sampler = optuna.samplers.TPESampler(seed=study.seed + n_done)
            best = _best(stored)
            trial = stored.ask(dict(space.distributions))
            started = time.perf_counter()
            try:
                value, P = _run(trial, validation, make_model(trial.params), best)
            except UserError as error:
                stored.tell(trial, state=TrialState.FAIL)
                raise UserError(f"trial {trial.number} with {trial.params}: {error}") from error
            stored.tell(trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE)
            if value is not None:
                scored[trial.number] = P, time.perf_counter() - started
            n_done += 1
            progress.update()
            progress.set_postfix(best=f"{stored.best_value:.3f}")
    selected = _select(stored)
    parameters = _valid_parameters(selected, space)
    scores, seconds = scored.get(selected.number) or cross_validate(make_model(parameters), validation.folds)
    return Tuned(parameters, scores, seconds)


class _InvalidStudyError(Exception):
    """The error for a study that this software cannot have written."""


def _best(study: optuna.Study) -> FrozenTrial | None:
    """Return the complete trial with the highest value, None if there is none."""
    return study.best_trial if _complete(study) else None


def _select(study: optuna.Study) -> FrozenTrial:
    """Return the first trial that is as good as the best one."""
    best = _best(study)
    if best is None:
        raise _InvalidStudyError("it has no complete trial")
    return next(trial for trial in _complete(study) if not _is_behind(_blocks(trial), _blocks(best)))


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _blocks(trial: FrozenTrial, row: int = -1) -> np.ndarray:
    """Return a row of the trial's `BLOCK_SCORES`; _InvalidStudyError if it has no such attribute."""
    try:
        return np.array(trial.user_attrs[BLOCK_SCORES][row], float)
    except (LookupError, TypeError, ValueError) as error:
        raise _InvalidStudyError(f"trial {trial.number} has no block scores") from error


def _is_behind(blocks: np.ndarray, others: np.ndarray) -> bool:
    """Return whether block scores are lower than others by more than one standard error; false for nan."""
    differences = others - blocks if len(others) == len(blocks) else np.full(1, np.nan)
    error = standard_error(differences)
    return bool(np.isfinite(error) and np.nanmean(differences) > error)


def _valid_parameters(trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    """Return the parameters of a trial; _InvalidStudyError if one is outside its distribution."""
    parameters = trial.params
    try:
        for name, distribution in space.distributions.items():
            if not distribution._contains(distribution.to_internal_repr(parameters[name])):
                raise ValueError(f"{name}={parameters[name]!r} is outside of {distribution}")
    except (LookupError, TypeError, ValueError) as error:
        raise _InvalidStudyError(f"its selected trial is not valid: {error}") from error
    return parameters


def _run(
    trial: optuna.Trial, validation: CrossValidation, model: BaseEstimator, best: FrozenTrial | None
) -> tuple[float | None, np.ndarray]:
    """Return the value of a trial, None if it is pruned, and the out-of-fold window scores.

    The value is the metric of the recording scores with the best aggregation.
    """
    fold, truth, metric = validation.fold, validation.truth, validation.metric
    blocks = []
    for k, P in enumerate(out_of_fold(model, validation.folds)):
        # Ignore recordings of folds that are not scored yet.
        truth_so_far = np.where((fold <= k)[:, None], truth, np.nan)
        pooled = pool(P, validation.first, "max")
        score_so_far = metric(truth_so_far, pooled)
        if np.isfinite(score_so_far):  # it is nan if no species is present in these folds
            trial.report(score_so_far, k)
        blocks.append(block_scores(metric, truth_so_far, pooled))
        is_last = k == len(validation.folds) - 1
        if best is not None and not is_last and _is_behind(blocks[k], _blocks(best, k)):
            return None, P
    aggregation, oof, score = best_aggregation(P, validation.first, truth, fold=fold, metric=metric)
    blocks.append(block_scores(metric, truth, oof))
    trial.set_user_attr("pooling", aggregation.pooling)
    # JSON has no nan.
    rows = [[float(x) if np.isfinite(x) else None for x in row] for row in blocks]
    trial.set_user_attr(BLOCK_SCORES, rows)
    return score, P
