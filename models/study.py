"""Optuna studies whose trials do not depend on how many machines work on them, or which one runs a trial."""

import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from features.common.errors import UserError

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
INDEX = "index"
"""User attribute of a trial: its position in the study. Trials that failed leave theirs to another trial."""
GENERATION = 5
"""Trial n uses the results of the first `n - n % GENERATION` trials, and of trial 0."""
LOCK = 1_970_236_513  # number of the lock in PostgreSQL; any that other software is unlikely to use
POLL = 0.5  # s between two looks at a study in which other machines run the next trials
SQLITE, POSTGRESQL = "sqlite", "postgresql+psycopg"


class InvalidStudyError(Exception):
    """The error for a study that this software cannot have written."""


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
    storage : URL of an SQLite file, see `database_url`, or of a PostgreSQL database. Several processes may
        work on a study in PostgreSQL.
    name : name of the study in the database.
    n_trials : total number of trials, including finished ones.
    seed : random seed.
    heartbeat : seconds between two signs of life of a running trial, in PostgreSQL. A trial without one for
        four times as long has failed, and another process runs it again.
    """

    storage: str
    name: str
    n_trials: int
    seed: int
    heartbeat: int = 15


def database_url(file: Path) -> str:
    """Return the URL of an SQLite file for Optuna and its dashboard.

    Examples
    --------
    >>> database_url(Path("/results/optuna.db"))
    'sqlite:////results/optuna.db'
    >>> database_url(Path("/results?/optuna.db"))
    'sqlite:////results%3F/optuna.db'
    """
    return URL.create(SQLITE, database=str(file)).render_as_string()


def validate_shared_storage(storage: str) -> None:
    """Raise UserError unless a text is the URL of a PostgreSQL database, for a driver that is installed."""
    with suppress(ArgumentError):
        url = make_url(storage)
        in_query = any("password" in name for name in url.query)  # `public_url` would show it
        if url.drivername == POSTGRESQL and url.database and not in_query:
            if find_spec("psycopg") is None:
                raise UserError("needs psycopg; install it with pip install 'understory[postgres]'")
            return
    # The text is not shown, because it can have a password.
    raise UserError(f"must look like {POSTGRESQL}://user:password@host:5432/database")


def public_url(storage: str) -> str:
    """Return the URL of a database without its password.

    Examples
    --------
    >>> public_url("postgresql+psycopg://ann:secret@db.example.org/studies")
    'postgresql+psycopg://ann:***@db.example.org/studies'
    """
    return make_url(storage).render_as_string(hide_password=True)


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Raise UserError, without the password, for an error of the database in the block."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, InvalidStudyError) as error:
        cause = error if isinstance(error, InvalidStudyError) else error.__cause__ or error
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        url = make_url(storage)
        if url.drivername == SQLITE:
            name = str(url.database)
            remedy = "check disk space and permissions, or remove the file if it is not a study"
        else:
            name = public_url(storage)
            remedy = "check that the server runs, and the host, database, user and password in the URL"
        raise UserError(f"{name}: the study cannot be read or written ({reason}); {remedy}") from error


class OpenStudy:
    """A study whose trials this process runs one by one.

    Trial n has the same parameters whoever runs it, and whatever ran before: they are drawn with the seed
    `seed + n`, and depend only on the results that `GENERATION` allows. A process waits if these are missing
    because other processes still work on them. Trials that have failed are run again.

    Optuna itself records heartbeats only in `Study.optimize`, which draws the parameters, too. Here, they are
    recorded in the same table, and `optuna.storages.fail_stale_trials` finds the trials without one.
    """

    def __init__(self, study: Study, space: SearchSpace) -> None:
        self._study = study
        self._space = space
        self._is_shared = make_url(study.storage).drivername != SQLITE
        self._engine: Engine = create_engine(study.storage, poolclass=NullPool)
        with self._exclusive():  # two processes would create the tables at the same time
            self._stored = self._open()
        if not self._is_shared:  # the results folder is locked, so that no other process runs a trial
            for trial in self._trials(TrialState.RUNNING):
                self._stored.tell(trial.number, state=TrialState.FAIL)

    def _open(self) -> optuna.Study:
        beat = self._study.heartbeat if self._is_shared else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._storage = RDBStorage(
                    self._study.storage, heartbeat_interval=beat, grace_period=beat and 4 * beat
                )
            return optuna.create_study(
                study_name=self._study.name,
                storage=self._storage,
                direction="maximize",
                load_if_exists=True,
            )
        except RuntimeError as error:  # another version of Optuna wrote the database
            raise InvalidStudyError(str(error)) from error

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._stored.get_trials(deepcopy=False, states=states)

    def finished(self) -> list[FrozenTrial]:
        """Return the finished trials in the order of their index."""
        return sorted(self._trials(*FINISHED), key=_index)

    def complete(self) -> list[FrozenTrial]:
        """Return the finished trials that were not pruned, in the order of their index."""
        return [trial for trial in self.finished() if trial.state == TrialState.COMPLETE]

    def visible(self, trial: optuna.Trial) -> list[FrozenTrial]:
        """Return the finished trials whose results a trial may use."""
        index = trial.user_attrs[INDEX]
        return [other for other in self.finished() if _index(other) in _visible(index)]

    def claim(self) -> optuna.Trial | None:
        """Return a new trial to run; None if all trials are finished. Wait if only other processes have some.

        Raises
        ------
        SQLAlchemyError, StorageInternalError, InvalidStudyError
            The database cannot be used, or has trials that are not of this software.
        """
        while True:
            with self._exclusive():
                self._fail_orphans()
                finished = {_index(trial): trial for trial in self._trials(*FINISHED)}
                if len(finished) >= self._study.n_trials:
                    return None
                taken = finished.keys() | {_index(trial) for trial in self._trials(TrialState.RUNNING)}
                index = min(set(range(self._study.n_trials)) - taken, default=None)
                if index is not None and _visible(index) <= finished.keys():
                    return self._ask(index, [finished[k] for k in sorted(_visible(index))])
            time.sleep(POLL)

    def _ask(self, index: int, history: list[FrozenTrial]) -> optuna.Trial:
        """Return a new trial with the parameters of an index."""
        if not self._trials(TrialState.WAITING):  # those that a user has added come first
            self._stored.enqueue_trial(self._draw(index, history))
        trial = self._stored.ask(dict(self._space.distributions))
        if self._is_shared:
            self._storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(INDEX, index)
        return trial

    def _draw(self, index: int, history: list[FrozenTrial]) -> dict[str, Any]:
        """Return the parameters of an index, given the trials that it may use."""
        if index == 0:
            return dict(self._space.defaults)
        sampler = optuna.samplers.TPESampler(seed=self._study.seed + index)
        drawn = optuna.create_study(direction="maximize", sampler=sampler)
        drawn.add_trials(history)
        return drawn.ask(dict(self._space.distributions)).params

    def _fail_orphans(self) -> None:
        """Let trials of processes that have ended fail, so that others can run them."""
        for trial in self._trials(TrialState.RUNNING):
            if INDEX not in trial.user_attrs:  # nobody else is between asking and setting it
                self._stored.tell(trial.number, state=TrialState.FAIL)
        if self._is_shared:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                fail_stale_trials(self._stored)

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Record heartbeats of a trial during the block, if other processes may work on the study."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._study.heartbeat):
                with suppress(SQLAlchemyError, optuna.exceptions.StorageInternalError):  # try again later
                    self._storage.record_heartbeat(trial._trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        if self._is_shared:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if self._is_shared:
                thread.join()

    def tell(self, trial: optuna.Trial, value: float | None, state: TrialState) -> None:
        """Store the result of a trial, unless the trial has failed because its heartbeats were missing."""
        self._stored.tell(trial, value, state, skip_if_finished=True)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let only one process at a time be in this block, for all studies of a PostgreSQL database."""
        if not self._is_shared:
            yield
            return
        # If this process ends, the server closes the connection, which unlocks.
        with self._engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
            yield


def _visible(index: int) -> set[int]:
    """Return the indices of the trials that a trial may use."""
    return set(range(index - index % GENERATION)) | ({0} if index else set())


def _index(trial: FrozenTrial) -> int:
    try:
        return int(trial.user_attrs[INDEX])
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidStudyError(f"trial {trial.number} has no index") from error
