import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from features.common.errors import UserError
from models.study import FINISHED, INDEX, database_url, validate_shared_storage
from tests import study_worker
from tests.postgres import PASSWORD, postgres

N_TRIALS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the URL of a PostgreSQL database; tests are skipped if PostgreSQL is not installed."""
    with postgres() as url:
        yield url


def trials(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=study_worker.NAME, storage=url).trials


def start(url: str, seconds: float) -> subprocess.Popen:
    """Start a process that works on the study, and prints a line for each fit, which takes some seconds."""
    command = [sys.executable, study_worker.__file__, url, str(N_TRIALS), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_killed_process_of_a_shared_study_changes_nothing(server: str, tmp_path: Path) -> None:
    other, killed = start(server, 0.1), start(server, 1000)
    serial = study_worker.run(database_url(tmp_path / "serial.db"), N_TRIALS)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"fit\n"
    killed.kill()
    killed.communicate()
    _, stderr = other.communicate(timeout=120)
    assert other.returncode == 0, stderr.decode()

    found = trials(server)
    finished = sorted((t for t in found if t.state in FINISHED), key=lambda t: t.user_attrs[INDEX])
    assert [trial.user_attrs[INDEX] for trial in finished] == list(range(N_TRIALS))
    assert len({tuple(trial.params.values()) for trial in finished}) == N_TRIALS
    (orphan,) = (trial for trial in found if trial.state not in FINISHED)
    assert orphan.state == TrialState.FAIL
    (replacement,) = (t for t in finished if t.user_attrs[INDEX] == orphan.user_attrs[INDEX])
    assert replacement.params == orphan.params

    expected = trials(database_url(tmp_path / "serial.db"))
    assert [(t.params, t.state, t.value) for t in finished] == [
        (t.params, t.state, t.value) for t in expected
    ]
    # The process that was started later, and one that only reads, get the same result.
    again = study_worker.run(server, N_TRIALS)
    assert (again.parameters, again.values) == (serial.parameters, serial.values)
    assert len(trials(server)) == len(found)


def test_failed_connection_is_an_error_without_the_password(server: str) -> None:
    wrong = server.replace(PASSWORD, "wr0ng")
    for url in (wrong, server.rsplit(":", 1)[0] + ":1/postgres"):
        with pytest.raises(UserError, match=r"ann:\*\*\*@127\.0\.0\.1.*check that the server runs") as error:
            study_worker.run(url, 1)
        assert "\n" not in str(error.value)
        assert "wr0ng" not in str(error.value)
        assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "mysql://a:pw@b/c",
        "sqlite:///a.db",
        "postgresql+psycopg://a:pw@b",
        "postgresql+psycopg://a@b/c?password=:pw",
    ],
)
def test_storage_must_be_a_postgresql_url(text: str) -> None:
    with pytest.raises(UserError, match=r"must look like postgresql\+psycopg://") as error:
        validate_shared_storage(text)
    assert ":pw" not in str(error.value)
