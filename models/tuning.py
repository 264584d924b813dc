"""Tuning of an estimator's parameters by an Optuna study on out-of-fold scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from sklearn.base import BaseEstimator
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from features.common.errors import UserError
from models.folds import Fold, out_of_fold
from models.scoring.aggregation import best_aggregation
from models.scoring.pooling import pool

VERSION = 4  # increase it when the same parameters and data give a trial a different value

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
N_TRIALS_BEFORE_PRUNING = 4


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
) -> dict[str, Any]:
    """Return the parameters of the best trial, after running trials until the study has `n_trials`.

    The first trial uses the default parameters. Every trial is stored as soon as it ends, so an interrupted
    study can be continued. Trial n is drawn with the seed `study.seed + n`, so a continued study has the
    same trials as an uninterrupted one.

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


def _tune(
    make_model: Callable[[dict[str, Any]], BaseEstimator],
    validation: CrossValidation,
    *,
    space: SearchSpace,
    study: Study,
) -> dict[str, Any]:
    try:
        stored = optuna.create_study(
            study_name=study.name,
            storage=database_url(study.database),
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=N_TRIALS_BEFORE_PRUNING),
            load_if_exists=True,
        )
    except RuntimeError as error:  # another version of Optuna wrote the file
        raise _InvalidStudyError(str(error)) from error
    for interrupted in stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        stored.tell(interrupted.number, state=TrialState.FAIL)
    n_done = len(stored.get_trials(deepcopy=False, states=FINISHED))
    n_trials = study.n_trials
    with tqdm(desc="study", initial=min(n_done, n_trials), total=n_trials, unit="trial") as progress:
        while n_done < n_trials:
            waiting = stored.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if n_done == 0 and not waiting:
                stored.enqueue_trial(dict(space.defaults))
            stored.sampler = optuna.samplers.TPESampler(seed=study.seed + n_done)
            trial = stored.ask(dict(space.distributions))
            try:
                score = _score(trial, validation, make_model(trial.params))
            except UserError as error:
                stored.tell(trial, state=TrialState.FAIL)
                raise UserError(f"trial {trial.number} with {trial.params}: {error}") from error
            stored.tell(trial, score, TrialState.PRUNED if score is None else TrialState.COMPLETE)
            n_done += 1
            progress.update()
            progress.set_postfix(best=f"{stored.best_value:.3f}")
    return _best_parameters(stored, space)


class _InvalidStudyError(Exception):
    """The error for a study that this software cannot have written."""


def _best_parameters(study: optuna.Study, space: SearchSpace) -> dict[str, Any]:
    """Return the parameters of the best trial; _InvalidStudyError if one is outside its distribution."""
    try:
        parameters = study.best_params
        for name, distribution in space.distributions.items():
            if not distribution._contains(distribution.to_internal_repr(parameters[name])):
                raise ValueError(f"{name}={parameters[name]!r} is outside of {distribution}")
    except (LookupError, TypeError, ValueError) as error:
        raise _InvalidStudyError(f"its best trial is not valid: {error}") from error
    return parameters


def _score(trial: optuna.Trial, validation: CrossValidation, model: BaseEstimator) -> float | None:
    """Return the out-of-fold score of a model with its best aggregation; None if the trial is pruned."""
    fold, truth, metric = validation.fold, validation.truth, validation.metric
    for k, P in enumerate(out_of_fold(model, validation.folds)):
        # Ignore recordings of folds that are not scored yet.
        truth_so_far = np.where((fold <= k)[:, None], truth, np.nan)
        score_so_far = metric(truth_so_far, pool(P, validation.first, "max"))
        if np.isfinite(score_so_far):  # it is nan if no species is present in these folds
            trial.report(score_so_far, k)
        if trial.should_prune() and k < len(validation.folds) - 1:
            return None
    aggregation, _, score = best_aggregation(P, validation.first, truth, fold=fold, metric=metric)
    trial.set_user_attr("pooling", aggregation.pooling)
    return score
