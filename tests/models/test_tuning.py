import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sklearn.base import BaseEstimator

from features.common.errors import UserError
from models import tuning
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.folds import out_of_fold, split
from models.metrics import lrap
from models.scoring.aggregation import best_aggregation
from models.study import FINISHED, SearchSpace, Study, database_url
from models.tuning import CrossValidation, Tuned, tune

SPACE = SearchSpace(
    distributions={
        "n_estimators": IntDistribution(10, 40, log=True),
        "learning_rate": FloatDistribution(0.03, 0.2, log=True),
        "min_child_samples": IntDistribution(3, 40, log=True),
        "weak_negative_weight": CategoricalDistribution((0.03, 0.1)),
    },
    defaults={
        "n_estimators": 20,
        "learning_rate": 0.08,
        "min_child_samples": 10,
        "weak_negative_weight": 0.1,
    },
)


def make_model(parameters: dict[str, Any]) -> OneVsRestGBM:
    return OneVsRestGBM(**parameters)


@pytest.fixture
def validation() -> CrossValidation:
    """40 recordings with five windows; each recording has one species, which is audible in one window."""
    rng = np.random.default_rng(0)
    recording = np.repeat(np.arange(40), 5)
    truth = np.eye(4)[np.arange(40) % 4]
    X = rng.normal(size=(200, 8)).astype(np.float32)
    Y = np.full((200, 4), np.nan)
    audible = np.arange(40) * 5 + rng.integers(0, 5, 40)
    X[audible, :4] += 2 * truth
    Y[audible] = truth
    folds = split(X, Y, (recording // 4) % 4)
    return CrossValidation(folds, np.arange(40) * 5, (np.arange(40) // 4) % 4, truth, lrap)


@pytest.fixture
def run(validation: CrossValidation) -> Callable[..., Tuned]:
    """Return a function that runs a study, given a database, a number of trials and a seed."""

    def run(
        database: Path,
        n_trials: int,
        seed: int = 0,
        *,
        validation: CrossValidation = validation,
        make_model: Callable[[dict[str, Any]], BaseEstimator] = make_model,
    ) -> Tuned:
        database.parent.mkdir(exist_ok=True)
        study = Study(database_url(database), "s", n_trials, seed)
        return tune(make_model, validation, space=SPACE, study=study)

    return run


def load(database: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{database}")


def parameters(database: Path) -> list[dict]:
    return [trial.params for trial in load(database).get_trials(states=FINISHED)]


def test_defaults_come_first_and_n_trials_is_the_total(run: Callable, tmp_path: Path) -> None:
    database = tmp_path / "optuna.db"
    run(database, 2)
    assert parameters(database)[0] == SPACE.defaults
    run(database, 4)
    assert len(parameters(database)) == 4
    run(database, 4)
    assert len(load(database).trials) == 4


def test_continued_study_equals_uninterrupted_study(run: Callable, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.db", tmp_path / "parts.db"
    run(whole, 7, seed=3)
    for n in (1, 3, 7):
        run(parts, n, seed=3)
    assert parameters(whole) == parameters(parts)
    assert len({tuple(values.values()) for values in parameters(whole)}) == 7


@pytest.mark.parametrize("at", [1, 3])
def test_study_continues_after_interruption(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    whole, interrupted = tmp_path / "whole.db", tmp_path / "interrupted.db"
    run(whole, 5)
    run_trial, calls = tuning._run, []

    def run_or_interrupt(*args: object) -> object:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return run_trial(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "_run", run_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, 5)
    monkeypatch.undo()
    run(interrupted, 5)
    assert parameters(interrupted) == parameters(whole)
    states = [trial.state for trial in load(interrupted).trials]
    assert states.count(TrialState.FAIL) == 1
    assert TrialState.RUNNING not in states


@pytest.mark.parametrize("name", ["results?x=1", "20%20", "a b", "#"])
def test_database_can_be_in_any_folder(run: Callable, tmp_path: Path, name: str) -> None:
    database = tmp_path / name / "optuna.db"
    run(database, 1)
    assert [file.name for file in (tmp_path / name).iterdir()] == ["optuna.db"]
    assert [folder.name for folder in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE trial_params SET param_value = 0.123", "its selected trial is not valid: "),
        ("DELETE FROM trial_params", "its selected trial is not valid: "),
        ("DELETE FROM trial_user_attributes", "trial 0 has no index"),
        ("DELETE FROM trial_user_attributes WHERE key = 'block_scores'", "trial 0 has no block scores"),
        ("UPDATE alembic_version SET version_num = 'v1.0.0'", "optuna"),
    ],
)
def test_study_of_other_software_is_rejected(
    run: Callable, tmp_path: Path, statement: str, reason: str
) -> None:
    database = tmp_path / "optuna.db"
    run(database, 1)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(UserError, match=rf"optuna\.db: the study cannot be read or written .*({reason}).*"):
        run(database, 1)


class Planned(BaseEstimator):
    """A classifier that ranks the species of a recording first in the recordings `good`, last in others."""

    def __init__(self, good: range = range(0)) -> None:
        self.good = good

    def fit(self, X: np.ndarray, Y: np.ndarray) -> "Planned":
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        recording, species = X.T
        P = np.full((len(X), 4), 0.5)
        P[np.arange(len(X)), species] = np.isin(recording, self.good)
        return P


def planned_study(run: Callable, folder: Path, good: list[range]) -> tuple[Tuned, list[FrozenTrial]]:
    """Return the result and the trials of a study whose trial k is right in the recordings `good[k]`.

    There are 40 recordings of 4 species in 5 folds: recordings 0 to 7, 8 to 15, and so on. Recording r is in
    block r % 10 of the standard error.
    """
    recording = np.arange(40)
    fold, species = recording // 8, recording % 4
    truth = np.eye(4)[species]
    validation = CrossValidation(
        split(np.stack([recording, species], axis=1), truth, fold), recording, fold, truth, lrap
    )
    models = map(Planned, [*good, good[0]])
    result = run(folder / "planned.db", len(good), validation=validation, make_model=lambda _: next(models))
    return result, load(folder / "planned.db").trials


def test_trials_that_are_behind_the_best_are_pruned(run: Callable, tmp_path: Path) -> None:
    good = [range(12), range(0), range(24), range(8), range(40)]
    _, trials = planned_study(run, tmp_path, good)
    complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
    assert [trial.state for trial in trials] == [complete, pruned, complete, pruned, complete]
    assert [len(trial.intermediate_values) for trial in trials] == [5, 1, 5, 2, 5]


@pytest.mark.parametrize(
    ("good", "selected"),
    [
        ([range(4), range(4, 9)], 0),  # 4 recordings are lost, 5 are gained
        ([range(20), range(36)], 1),
        ([range(8), range(33), range(38)], 2),
    ],
)
def test_first_trial_within_one_standard_error_of_the_best_is_selected(
    run: Callable, tmp_path: Path, good: list[range], selected: int
) -> None:
    result, trials = planned_study(run, tmp_path, good)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert result.parameters == trials[selected].params
    right = result.scores.argmax(axis=1) == np.arange(40) % 4
    np.testing.assert_array_equal(np.flatnonzero(right), good[selected])


def test_value_of_a_trial_is_the_out_of_fold_score(
    run: Callable, validation: CrossValidation, tmp_path: Path
) -> None:
    result = run(tmp_path / "optuna.db", 3)
    *_, P = out_of_fold(make_model(result.parameters), validation.folds)
    np.testing.assert_array_equal(result.scores, P)
    aggregation, _, score = best_aggregation(
        P, validation.first, validation.truth, fold=validation.fold, metric=lrap
    )
    (trial,) = [t for t in load(tmp_path / "optuna.db").trials if t.params == result.parameters]
    assert trial.value == score
    assert trial.user_attrs["pooling"] == aggregation.pooling


def test_scores_of_a_finished_study_are_computed_again(run: Callable, tmp_path: Path) -> None:
    result, again = (run(tmp_path / "optuna.db", 3) for _ in range(2))
    assert len(load(tmp_path / "optuna.db").trials) == 3
    assert again.parameters == result.parameters
    np.testing.assert_array_equal(again.scores, result.scores)


def test_error_of_a_fit_names_the_trial_and_its_parameters(run: Callable, tmp_path: Path) -> None:
    def make_invalid_model(parameters: dict[str, Any]) -> OneVsRestGBM:
        return OneVsRestGBM(**parameters | {"learning_rate": -1.0})

    database = tmp_path / "optuna.db"
    run(database, 1)
    with pytest.raises(UserError, match=r"trial 1 with \{'n_estimators': .*LightGBM cannot fit the trees"):
        run(database, 2, make_model=make_invalid_model)
    assert [trial.state for trial in load(database).trials] == [TrialState.COMPLETE, TrialState.FAIL]
    run(database, 2)
    assert len(parameters(database)) == 2


def test_invalid_database_is_an_error(run: Callable, tmp_path: Path) -> None:
    database = tmp_path / "optuna.db"
    database.write_text("no database" * 100)
    with pytest.raises(
        UserError, match=r"optuna\.db: the study cannot be read or written .* remove the file"
    ):
        run(database, 1)
