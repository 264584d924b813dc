"""The member `gbm`: LightGBM and a ridge discriminant on features of windows, tuned by Optuna."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from tqdm import tqdm

from features.columns.window_features import WindowFeatures
from features.common.errors import UserError
from features.common.files import digest
from features.common.parallel import on_workers
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings
from models import tuning
from models.estimators import one_vs_rest_gbm, ridge_discriminant
from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant
from models.estimators.trees_and_linear import load_model, save_model
from models.folds import Fold
from models.metrics import METRICS
from models.self_training import TrainingLabels
from models.study import SearchSpace, Study, database_url, public_url, validate_shared_storage
from models.tuning import CrossValidation, cross_validate, tune
from pipelines.core.cli import natural
from pipelines.core.member import CrossFit, WindowScorer
from pipelines.core.task import Task
from pipelines.core.training_windows import TrainingWindows

DEFAULT_TRIALS = 4
TREE_PARAMETERS = (
    "n_estimators",
    "learning_rate",
    "num_leaves",
    "min_child_samples",
    "reg_lambda",
    "feature_fraction",
)
DISTRIBUTIONS = {
    "n_estimators": IntDistribution(50, 150, log=True),  # more trees took longer and did not rank better
    "learning_rate": FloatDistribution(0.05, 0.25, log=True),
    "num_leaves": IntDistribution(4, 16, log=True),
    "min_child_samples": IntDistribution(3, 40, log=True),
    "reg_lambda": FloatDistribution(0.01, 10, log=True),
    "feature_fraction": FloatDistribution(0.015, 0.15, log=True),  # of about 1,500 columns
    "ridge_alpha": FloatDistribution(100, 1000, log=True),
    # Higher weights are not tried. If not all calls have boxes, the metric counts unknown species as absent.
    # It then favours a high weight, and species that are common but rarely boxed get low scores.
    "weak_negative_weight": CategoricalDistribution((0.03, 0.1)),
}


def default_parameters() -> dict[str, Any]:
    """Return parameters for `make_model`: those of the estimators, except for about 1,500 columns."""
    # Two thirds of the trees at 1.5 times the learning rate rank as well within a standard error.
    trees = OneVsRestGBM(n_estimators=100, learning_rate=0.12, feature_fraction=0.05).get_params()
    linear = RidgeDiscriminant().get_params()
    return {name: linear["alpha"] if name == "ridge_alpha" else trees[name] for name in DISTRIBUTIONS}


def make_model(parameters: Mapping[str, Any], *, seed: int, n_jobs: int) -> LogOddsMean:
    """Return the unfitted model: trees and ridge discriminant, averaged in log odds.

    Parameters
    ----------
    parameters : value of each parameter in `DISTRIBUTIONS`.
    seed : random seed of the trees.
    n_jobs : number of species fitted in parallel.
    """
    weight = parameters["weak_negative_weight"]
    trees = OneVsRestGBM(
        **{name: parameters[name] for name in TREE_PARAMETERS},
        weak_negative_weight=weight,
        random_state=seed,
        n_jobs=n_jobs,
    )
    linear = RidgeDiscriminant(alpha=parameters["ridge_alpha"], weak_negative_weight=weight)
    return LogOddsMean([("trees", trees), ("linear", linear)])


@dataclass(frozen=True)
class GBMScorer(WindowScorer):
    """The columns of windows, and the model that scores windows by these columns."""

    features: WindowFeatures
    model: LogOddsMean
    importance_meaning: ClassVar[str] = (
        "It is the mean of two shares: the gain of the splits in the trees, and the squared standardised "
        "coefficients of the linear part."
    )

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return self.features.transform(frames, starts, length)

    def inputs_digest(self) -> str:
        return self.features.digest

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(X)

    def importance(self) -> np.ndarray:
        return self.model.importance()

    def contributions(self, X: np.ndarray, species: int) -> np.ndarray:
        return self.model.contributions(X, species)

    def save(self, folder: Path) -> None:
        self.features.save(folder)
        save_model(self.model, folder)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        n_species = len(config["species"])
        features = WindowFeatures.load(folder, SpectralSettings(**config["spectral"]), n_species)
        columns = features.names()
        if config["columns"] != columns:
            raise ValueError("its files have different columns")
        return cls(features, load_model(folder, len(columns), n_species))


class GBM:
    """One-vs-rest LightGBM and a ridge discriminant, averaged in log odds and tuned by Optuna."""

    name = "gbm"
    scorer = GBMScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--trials",
            type=natural,
            default=DEFAULT_TRIALS,
            help="number of trials of the study; 0 uses the default parameters without a study",
        )
        parser.add_argument(
            "--storage",
            type=_shared_storage,
            metavar="URL",
            help="database of the study, such as postgresql+psycopg://user@host/studies, so that several "
            "machines can work on it (default: optuna.db in the results folder)",
        )

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        self._windows = TrainingWindows(task)
        self._labels = TrainingLabels.of(task.labels, task.n_folds)
        folds = self._folds()
        config: dict[str, Any] = {"columns": self._windows.features.names()}
        metrics, note = {}, ""
        make = partial(make_model, seed=args.seed, n_jobs=task.jobs_per_fit)
        if args.trials:
            study = self._study(task, args, folds)
            tuned = tune(
                make,
                CrossValidation(
                    folds, task.first_windows("train"), task.fold, task.truth, METRICS[task.metric]
                ),
                space=SearchSpace(DISTRIBUTIONS, default_parameters()),
                study=study,
            )
            parameters, P, seconds = tuned.parameters, tuned.scores, tuned.seconds
            config["study"], metrics["study"] = study.name, tuned.values
            note = "to view the study: make dashboard"
            if args.storage:
                note += f" STORAGE='{public_url(args.storage)}'"
            else:
                note += f", or optuna-dashboard '{study.storage}'"
            if parameters == default_parameters() and args.trials > 1:
                print("no trial is better than the default parameters by more than one standard error")
        else:
            parameters = default_parameters()
            P, seconds = cross_validate(make(parameters), folds)
        self._model = make(parameters)
        return CrossFit(P, seconds, config | {"params": parameters}, metrics, note)

    def _study(self, task: Task, args: argparse.Namespace, folds: Sequence[Fold]) -> Study:
        """Return the study, whose name contains a digest of everything that affects its values."""
        arrays = [array for fold in folds for array in (fold.X, fold.Y, fold.X_held)]
        versions = (one_vs_rest_gbm.VERSION, ridge_discriminant.VERSION, tuning.VERSION)
        state = digest(*versions, DISTRIBUTIONS, *arrays, task.fold, task.truth, args.seed)
        storage = args.storage or database_url(task.results / "optuna.db")
        return Study(storage, f"{self.name}-{task.metric}-{state}", args.trials, args.seed)

    def _folds(self) -> list[Fold]:
        return [self._windows.fold(k, Y) for k, Y in enumerate(self._labels.outside)]

    def teach(self, task: Task) -> Iterator[np.ndarray]:
        windows = [self._windows.to_teach(k) for k in range(task.n_folds)]
        folds = (self._windows.fold(k, Y, windows[k]) for k, Y in enumerate(self._labels.outside))
        scores = on_workers(partial(Fold.score, model=self._model), ((fold,) for fold in folds), n_jobs=1)
        for taught, P in zip(
            windows, tqdm(scores, "scores for soft labels", task.n_folds, unit="fold"), strict=True
        ):
            of_all = np.zeros(task.labels.shape)
            of_all[taught] = P
            yield of_all

    def refit(self, task: Task, args: argparse.Namespace, labels: TrainingLabels, number: int) -> CrossFit:
        self._labels = labels
        return CrossFit(*cross_validate(self._model, self._folds()))

    def fit_final(self, task: Task, args: argparse.Namespace) -> GBMScorer:
        model = self._model.set_params(trees__n_jobs=args.jobs)
        return GBMScorer(self._windows.features, model.fit(*self._windows.whole(self._labels.whole)))


def _shared_storage(text: str) -> str:
    """Return a flag's value, which must be the URL of a PostgreSQL database."""
    try:
        validate_shared_storage(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
