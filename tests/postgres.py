"""A PostgreSQL server for tests."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

PASSWORD = "s3cret"


def _program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL; Debian does not put the server's on the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of an empty database on a new server; skip the test if PostgreSQL is not installed."""
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed")
    # The server does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as temporary:
        folder, password = Path(temporary) / "data", Path(temporary) / "password"
        password.write_text(PASSWORD)
        if user:
            shutil.chown(temporary, user)
            shutil.chown(password, user)
        flags = ["-D", folder, "-A", "scram-sha-256", "-U", "ann", "--pwfile", password, "--no-sync"]
        subprocess.run([initdb, *flags], user=user, check=True, capture_output=True, cwd="/")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = ["-p", str(port), "-k", temporary, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        process = subprocess.Popen(
            [server, "-D", folder, *settings],
            user=user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(port, process)
            yield f"postgresql+psycopg://ann:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # it does not wait for its clients
            process.wait(20)


def _wait(port: int, process: subprocess.Popen) -> None:
    """Wait until the server accepts connections."""
    engine = create_engine(f"postgresql+psycopg://ann:{PASSWORD}@127.0.0.1:{port}/postgres")
    for _ in range(200):
        try:
            engine.connect().close()
        except OperationalError:
            assert process.poll() is None, "the server ended early"
            time.sleep(0.1)
        else:
            engine.dispose()
            return
    pytest.fail("the server did not respond")
