"""Tuning of an estimator's parameters by an Optuna study on out-of-fold scores."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from sklearn.base import BaseEstimator
from tqdm import tqdm

from features.common.errors import UserError
from models.folds import Fold, out_of_fold
from models.metrics import block_scores, standard_error
from models.scoring.aggregation import best_aggregation
from models.scoring.pooling import pool
from models.study import InvalidStudyError, OpenStudy, SearchSpace, Study, storage_errors

VERSION = 6  # increase it when the same parameters and data give a trial a different value

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
class Tuned:
    """The result of a study.

    Attributes
    ----------
    parameters : dict from the name of each parameter to its value.
    scores : (n_windows, n_species) out-of-fold window scores with these parameters.
    seconds : time of fitting and scoring the models of all folds with these parameters.
    values : out-of-fold score of each trial, None for pruned ones.
    """

    parameters: dict[str, Any]
    scores: np.ndarray
    seconds: float
    values: list[float | None]


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
    highest value alone determined it. A trial is pruned as soon as it is behind the best one before it by
    more than one standard error on the same folds.

    Every trial is stored as soon as it ends, so an interrupted study can be continued. A study that was
    continued, or that several processes have worked on, has the same trials as any other, see `OpenStudy`.

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
    with storage_errors(study.storage):
        return _tune(make_model, validation, space=space, study=study)


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
    trials = OpenStudy(study, space)
    scored: dict[int, tuple[np.ndarray, float]] = {}  # scores and seconds of the trials run here
    with tqdm(desc="study", total=study.n_trials, unit="trial") as progress:
        while (trial := trials.claim()) is not None:
            with trials.alive(trial):
                started = time.perf_counter()
                try:
                    value, P = _run(trial, validation, make_model(trial.params), trials.visible(trial))
                except optuna.exceptions.UpdateFinishedTrialError:
                    continue  # heartbeats were missing, so another process runs it
                except UserError as error:
                    trials.tell(trial, None, TrialState.FAIL)
                    raise UserError(f"trial {trial.number} with {trial.params}: {error}") from error
                trials.tell(trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE)
            if value is not None:
                scored[trial.number] = P, time.perf_counter() - started
            _show(progress, trials)
        _show(progress, trials)
    selected = _select(trials.complete())
    parameters = _valid_parameters(selected, space)
    scores, seconds = scored.get(selected.number) or cross_validate(make_model(parameters), validation.folds)
    values = [trial.value if trial.state == TrialState.COMPLETE else None for trial in trials.finished()]
    return Tuned(parameters, scores, seconds, values)


def _show(progress: tqdm, trials: OpenStudy) -> None:
    """Show how many trials are finished, also those of other processes, and the best value."""
    progress.n = min(len(trials.finished()), progress.total)
    progress.set_postfix(best=f"{_best(trials.complete()).value:.3f}")


def _best(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the first of the complete trials with the highest value."""
    if not trials:
        raise InvalidStudyError("it has no complete trial")
    return max(trials, key=lambda trial: float(trial.value or 0.0))


def _select(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the first of the complete trials that is as good as the best one."""
    best = _blocks(_best(trials))
    return next(trial for trial in trials if not _is_behind(_blocks(trial), best))


def _blocks(trial: FrozenTrial, row: int = -1) -> np.ndarray:
    """Return a row of the trial's `BLOCK_SCORES`; InvalidStudyError if it has no such attribute."""
    try:
        return np.array(trial.user_attrs[BLOCK_SCORES][row], float)
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidStudyError(f"trial {trial.number} has no block scores") from error


def _is_behind(blocks: np.ndarray, others: np.ndarray) -> bool:
    """Return whether block scores are lower than others by more than one standard error; false for nan."""
    differences = others - blocks if len(others) == len(blocks) else np.full(1, np.nan)
    error = standard_error(differences)
    return bool(np.isfinite(error) and np.nanmean(differences) > error)


def _valid_parameters(trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    """Return the parameters of a trial; InvalidStudyError if one is outside its distribution."""
    parameters = trial.params
    try:
        for name, distribution in space.distributions.items():
            if not distribution._contains(distribution.to_internal_repr(parameters[name])):
                raise ValueError(f"{name}={parameters[name]!r} is outside of {distribution}")
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidStudyError(f"its selected trial is not valid: {error}") from error
    return parameters


def _run(
    trial: optuna.Trial,
    validation: CrossValidation,
    model: BaseEstimator,
    earlier: Sequence[FrozenTrial],
) -> tuple[float | None, np.ndarray]:
    """Return the value of a trial, None if it is pruned, and the out-of-fold window scores.

    The value is the metric of the recording scores with the best aggregation.

    Parameters
    ----------
    earlier : trials that the trial may use; it is pruned if it is behind the best of them.
    """
    complete = [other for other in earlier if other.state == TrialState.COMPLETE]
    best = _best(complete) if complete else None
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
