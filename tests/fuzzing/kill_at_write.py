"""Run a command and kill it just before its n-th write: python kill_at_write.py N FOLDER SCRIPT FLAG...

A write is a file or folder in FOLDER that is opened for writing, made, renamed or removed. If N is 0, the
command runs to its end, and the number of writes is printed to stderr as the last line.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main(n: int, folder: str, script: str) -> None:
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            path, mode, flags = arguments
            is_write = bool(flags & WRITE) if mode is None else any(letter in mode for letter in "wax+")
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "shutil.copyfile"):
            path, is_write = arguments[1 if event == "shutil.copyfile" else 0], True
        else:
            return
        if not is_write or not isinstance(path, (str, bytes, os.PathLike)):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(folder):
            return
        count += 1
        if count == n:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        if n == 0:
            print(count, file=sys.stderr)


if __name__ == "__main__":
    at, inside, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    sys.argv = sys.argv[3:]
    main(at, inside, name)
