"""The Optuna study of the GBM: settings shared by all species, by out-of-fold score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from lightgbm.basic import LightGBMError
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from features.common.errors import UserError
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.folds import Fold, out_of_fold
from models.scoring.aggregation import best_readout
from models.scoring.pooling import pool

VERSION = 4  # raise it when the same parameters and data give a trial another value

SPACE = {
    "n_estimators": IntDistribution(80, 250, log=True),
    "learning_rate": FloatDistribution(0.03, 0.2, log=True),
    "num_leaves": IntDistribution(4, 16, log=True),
    "min_child_samples": IntDistribution(3, 40, log=True),
    "reg_lambda": FloatDistribution(0.01, 10, log=True),
    "feature_fraction": FloatDistribution(0.03, 0.3, log=True),
    "ridge_alpha": FloatDistribution(100, 1000, log=True),
    # No higher: with partial boxes the score, too, takes unknown for absent, so it favours a model that
    # does so strongly, and a common species that few boxes show is lost.
    "weak_negative_weight": CategoricalDistribution((0.03, 0.1)),
}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
N_TRIALS_BEFORE_PRUNING = 4


@dataclass(frozen=True)
class Task:
    """What a trial is scored on.

    folds : examples and windows of each fold.
    first : (n_recordings,) first window of each recording.
    fold : (n_recordings,) fold of each recording.
    truth : (n_recordings, n_species) that the pooled out-of-fold scores are held against.
    metric : of (truth, scores), to be maximised.
    """

    folds: Sequence[Fold]
    first: np.ndarray
    fold: np.ndarray
    truth: np.ndarray
    metric: Callable[[np.ndarray, np.ndarray], float]


def tune(task: Task, n_trials: int, seed: int, n_jobs: int, database: Path, name: str) -> dict[str, Any]:
    """Return the parameters of the best trial, after bringing the study to `n_trials`.

    The first trial has `OneVsRestGBM`'s defaults. Every trial is stored as it ends, so a killed or
    repeated run goes on where it stood; trial n is drawn by a sampler seeded with `seed + n`, so
    going on repeats no draw, and an interrupted study ends as one never interrupted.

    Parameters
    ----------
    n_trials : trials wanted in all, those already finished counted in.
    database : SQLite file; `name` names the study in it.

    Raises
    ------
    UserError
        The database cannot be read or written, or LightGBM refuses a trial's parameters or data.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _tune(task, n_trials, seed, n_jobs, database, name)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(
            f"{database}: the study cannot be read or written ({reason}); see to space and rights, or, if it "
            f"is no study, remove it"
        ) from error


def _tune(task: Task, n_trials: int, seed: int, n_jobs: int, database: Path, name: str) -> dict[str, Any]:
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{database}",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=N_TRIALS_BEFORE_PRUNING),
        load_if_exists=True,
    )
    for killed in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(killed.number, state=TrialState.FAIL)
    n_done = len(study.get_trials(deepcopy=False, states=FINISHED))
    with tqdm(desc="study", initial=min(n_done, n_trials), total=n_trials, unit="trial") as progress:
        while n_done < n_trials:
            waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if n_done == 0 and not waiting:
                defaults = OneVsRestGBM().get_params()
                study.enqueue_trial({key: defaults[key] for key in SPACE})
            study.sampler = optuna.samplers.TPESampler(seed=seed + n_done)
            trial = study.ask(SPACE)
            try:
                score = _score(trial, task, OneVsRestGBM(**trial.params, random_state=seed, n_jobs=n_jobs))
            except LightGBMError as error:
                study.tell(trial, state=TrialState.FAIL)
                raise UserError(f"trial {trial.number} of the study, {trial.params}: {error}") from error
            study.tell(trial, score, TrialState.PRUNED if score is None else TrialState.COMPLETE)
            n_done += 1
            progress.update()
            progress.set_postfix(best=f"{study.best_value:.3f}")
    return study.best_params


def _score(trial: optuna.Trial, task: Task, model: OneVsRestGBM) -> float | None:
    """Return the out-of-fold score of `model` under its best readout; None if not worth finishing."""
    for k, P in enumerate(out_of_fold(model, task.folds)):
        # Recordings of folds still to come have no truth yet, so they do not count.
        truth = np.where((task.fold <= k)[:, None], task.truth, np.nan)
        so_far = task.metric(truth, pool(P, task.first, "max"))
        if np.isfinite(so_far):  # else the folds so far show no species
            trial.report(so_far, k)
        if trial.should_prune() and k < len(task.folds) - 1:
            return None
    readout, _, score = best_readout(P, task.first, task.truth, task.fold, task.metric)
    trial.set_user_attr("pooling", readout.pooling)
    return score
