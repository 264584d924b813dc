from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from models import tuning
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from models.folds import split
from models.metrics import lrap
from models.tuning import FINISHED, SPACE, Task, tune


@pytest.fixture
def task() -> Task:
    """40 recordings of 5 windows; the species of a recording shows in one window."""
    rng = np.random.default_rng(0)
    recording = np.repeat(np.arange(40), 5)
    truth = np.eye(4)[np.arange(40) % 4]
    X = rng.normal(size=(200, 8)).astype(np.float32)
    Y = np.full((200, 4), np.nan)
    shows = np.arange(40) * 5 + rng.integers(0, 5, 40)
    X[shows, :4] += 2 * truth
    Y[shows] = truth
    folds = split(X, Y, (recording // 4) % 4)
    return Task(folds, np.arange(40) * 5, (np.arange(40) // 4) % 4, truth, lrap)


def study(database: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{database}")


def draws(database: Path) -> list[dict]:
    return [trial.params for trial in study(database).get_trials(states=FINISHED)]


def test_defaults_come_first_and_trials_is_the_total(task: Task, tmp_path: Path) -> None:
    database = tmp_path / "optuna.db"
    tune(task, 2, 0, 1, database, "s")
    defaults = OneVsRestGBM().get_params()
    assert draws(database)[0] == {key: defaults[key] for key in SPACE}
    tune(task, 4, 0, 1, database, "s")
    assert len(draws(database)) == 4
    best = tune(task, 4, 0, 1, database, "s")
    assert len(study(database).trials) == 4
    assert best == study(database).best_params


def test_going_on_repeats_no_draw_and_ends_as_if_never_interrupted(task: Task, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.db", tmp_path / "parts.db"
    tune(task, 7, 3, 1, whole, "s")
    for n in (1, 3, 7):
        tune(task, n, 3, 1, parts, "s")
    assert draws(whole) == draws(parts)
    assert len({tuple(params.values()) for params in draws(whole)}) == 7


@pytest.mark.parametrize("at", [1, 3])
def test_a_killed_run_goes_on(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    whole, killed = tmp_path / "whole.db", tmp_path / "killed.db"
    tune(task, 5, 0, 1, whole, "s")
    score, calls = tuning._score, []

    def die(*args: object) -> float | None:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return score(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "_score", die)
    with pytest.raises(KeyboardInterrupt):
        tune(task, 5, 0, 1, killed, "s")
    monkeypatch.undo()
    tune(task, 5, 0, 1, killed, "s")
    assert draws(killed) == draws(whole)
    states = [trial.state for trial in study(killed).trials]
    assert states.count(TrialState.FAIL) == 1
    assert TrialState.RUNNING not in states


def test_useless_trials_are_pruned(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that only ever gets worse from trial to trial leaves nothing worth finishing."""
    calls = iter(range(10**6))
    task = replace(task, metric=lambda Y, P: -float(next(calls)))
    tune(task, 8, 0, 1, tmp_path / "optuna.db", "s")
    states = [trial.state for trial in study(tmp_path / "optuna.db").trials]
    assert states[:4] == [TrialState.COMPLETE] * 4
    assert states[4:] == [TrialState.PRUNED] * 4


def test_a_trials_value_is_the_out_of_fold_score_of_its_parameters(task: Task, tmp_path: Path) -> None:
    from models.folds import out_of_fold
    from models.scoring.aggregation import best_readout

    best = tune(task, 3, 0, 1, tmp_path / "optuna.db", "s")
    *_, P = out_of_fold(OneVsRestGBM(**best, random_state=0), task.folds)
    readout, _, score = best_readout(P, task.first, task.truth, task.fold, lrap)
    trial = study(tmp_path / "optuna.db").best_trial
    assert trial.value == score
    assert trial.user_attrs["pooling"] == readout.pooling
