"""Fuzz tests with hostile input and killed commands: python tests/fuzz.py --minutes 20.

The modules of `tests/fuzzing` make the cases, by class: audio with changed bytes, and containers that are cut
or put together; tables with changed bytes and cells, and unusual names; models with changed bytes, values,
arrays and exchanged files; commands that are killed at a write or a random moment, or that run at the same
time. Input must be read, or rejected with a clear error, in bounded time and memory. After a kill, the same
command must give the results of a command that was not killed. `pipelines/test_faults.py` runs a part of it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import multiprocessing
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from tests.conftest import write_small_dataset
from tests.fuzzing.audio import try_audio, try_container
from tests.fuzzing.commands import (
    Setting,
    count_loads,
    try_kill,
    try_kill_at_write,
    try_pair,
)
from tests.fuzzing.models import try_array, try_config, try_model, try_swap
from tests.fuzzing.tables import try_import, try_names, try_table

MAX_SECONDS = {"kill at write": 600, "kill": 600, "pair": 600}
"""Limit of a case by class; 60 s for the others. The fuzz test may share the cores."""
MAX_MEGABYTES = 1500
SHARES = {
    "audio": 40,
    "container": 40,
    "table": 40,
    "names": 10,
    "import": 10,
    "model": 15,
    "config": 20,
    "array": 15,
    "swap": 3,
    "kill at write": 1,
    "kill": 1,
    "pair": 1,
}
"""Number of cases of each class in a round."""


Case = Callable[[np.random.Generator], str]


def cases(setting: Setting) -> dict[str, Case]:
    """Return the function of each class."""
    folder, results = setting.folder, setting.whole / "results"
    recording = setting.data / "test" / "t0.flac"
    of_files = {
        "audio": try_audio,
        "container": try_container,
        "table": try_table,
        "names": try_names,
        "import": try_import,
    }
    of_models = {"model": try_model, "config": try_config, "array": try_array, "swap": try_swap}
    of_commands = {"kill at write": try_kill_at_write, "kill": try_kill, "pair": try_pair}
    found: dict[str, Case] = {}
    for name, of_file in of_files.items():
        found[name] = partial(of_file, folder)
    for name, of_model in of_models.items():
        found[name] = partial(of_model, folder, results=results, recording=recording)
    for name, of_command in of_commands.items():
        found[name] = partial(of_command, setting)
    return found


def _in_child(case: Case, rng: np.random.Generator, report: multiprocessing.SimpleQueue) -> None:
    try:
        outcome = case(rng)
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        megabytes = max(resource.getrusage(one).ru_maxrss for one in both) / 1024
        assert megabytes < MAX_MEGABYTES, f"{megabytes:.0f} MB"
        report.put((True, outcome))
    except BaseException:
        report.put((False, traceback.format_exc(limit=-3)))


def isolated(case: Case, rng: np.random.Generator, seconds: float) -> tuple[bool, str]:
    """Run a case in its own process, because it may crash; return whether it ended well, and the outcome.

    This process itself runs no model: a process that is forked after threads have begun can wait for ever.
    """
    context = multiprocessing.get_context("fork")
    report: multiprocessing.SimpleQueue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(case, rng, report))
    child.start()
    child.join(seconds)
    if child.is_alive():
        child.kill()
        child.join()
        return False, f"still running after {seconds} s"
    return (False, f"exit status {child.exitcode}") if report.empty() else report.get()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="duration, minutes")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the first case")
    parser.add_argument("--only", choices=SHARES, nargs="*", help="classes of cases; all if it is not given")
    parser.add_argument("--kills", type=int, default=0, help="kill commands this often, and do nothing else")
    parser.add_argument("--loads", type=int, default=0, help="load a model this often while it is replaced")
    args = parser.parse_args()
    names = ["kill at write", "kill"] if args.kills else args.only or list(SHARES)
    outcomes: Counter[str] = Counter()
    failures = n_killed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_small_dataset(folder / "data")
        if args.loads:
            print(f"loads: {count_loads(folder, data, args.loads)}")
            return 0
        of_class = cases(Setting.make(folder, data))
        end, seed = time.monotonic() + 60 * args.minutes, args.seed
        while n_killed < args.kills if args.kills else time.monotonic() < end:
            for name in names:
                for _ in range(SHARES[name]):
                    seed += 1
                    limit = MAX_SECONDS.get(name, 60)
                    ended, outcome = isolated(of_class[name], np.random.default_rng(seed), limit)
                    n_killed += outcome.endswith("killed")
                    if ended:
                        outcomes[f"{name}: {outcome}"] += 1
                    else:
                        failures += 1
                        print(f"FAILED {name}, --seed {seed - 1}: {outcome}", flush=True)
    for outcome, n in sorted(outcomes.items()):
        print(f"{n:6d} {outcome}")
    print(f"{sum(outcomes.values()) + failures} cases, {n_killed} kills, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
