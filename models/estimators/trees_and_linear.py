"""The mean of LightGBM and a ridge discriminant: the model with default parameters, and its files."""

from pathlib import Path

from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.estimators.ridge_discriminant import RidgeDiscriminant


def default_model(seed: int, n_jobs: int) -> LogOddsMean:
    """Return the unfitted model with default parameters.

    Parameters
    ----------
    seed : random seed of the trees.
    n_jobs : number of species fitted in parallel.
    """
    trees = OneVsRestGBM(random_state=seed, n_jobs=n_jobs)
    return LogOddsMean([("trees", trees), ("linear", RidgeDiscriminant())])


def save_model(model: LogOddsMean, folder: Path) -> None:
    """Write a fitted model to a folder; `load_model` reads it."""
    for estimator in model.estimators_:
        estimator.save(folder)


def load_model(folder: Path, n_columns: int, n_species: int) -> LogOddsMean:
    """Return the model that `save_model` wrote.

    Raises
    ------
    ValueError, UserError
        The files are missing or not valid, or have other numbers of columns or species.
    """
    trees = OneVsRestGBM.load(folder)
    if trees.n_species_ != n_species:
        raise ValueError(f"its trees have {trees.n_species_} species instead of {n_species}")
    if trees.n_features_in_ != n_columns:
        raise ValueError("its files have different columns")
    linear = RidgeDiscriminant.load(folder, n_columns, n_species)
    return LogOddsMean.of_fitted([("trees", trees), ("linear", linear)])
