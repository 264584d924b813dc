"""Exit status and messages of commands whose output, memory or processes fail."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pipelines.core import cli
from tests.conftest import ROOT

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
HELP = [sys.executable, str(ROOT / "pipelines" / "convert.py"), "--help"]


def call(monkeypatch: pytest.MonkeyPatch, main: Callable[[argparse.Namespace], None]) -> int:
    monkeypatch.setattr(sys, "argv", ["command"])
    try:
        cli.run(main, argparse.ArgumentParser())
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "memory ran out; give --jobs 1, or close programs"),
        (BrokenProcessPool(), "a process was killed, probably because memory ran out; .* --jobs 1"),
        (OSError(28, "No space left on device", "x.csv"), "x.csv: No space left on device; check disk space"),
    ],
)
def test_error_of_the_system_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise error

    assert call(monkeypatch, fail) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert re.search(message, printed)


def test_closed_output_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(HELP, stdout=writer, stderr=subprocess.PIPE, env=BUFFERED, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (cli.CLOSED_OUTPUT, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_full_output_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(HELP, stdout=full, stderr=subprocess.PIPE, env=BUFFERED, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device; check disk space\n"


@pytest.mark.skipif(os.name != "posix", reason="the shell of this system differs")
def test_status_does_not_depend_on_the_error_output() -> None:
    command = f"{sys.executable} {ROOT / 'pipelines' / 'report.py'} --data /nowhere/at/all 2>&-"
    assert subprocess.run(command, shell=True, stdout=subprocess.DEVNULL, check=False).returncode == 2
