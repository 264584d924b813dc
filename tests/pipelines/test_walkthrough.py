"""The commands of README, section "Review", run in their order on recordings of the embedded data set."""

import contextlib
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from features.data.dataset import load_dataset
from features.data.synthetic import SyntheticSettings, write_dataset
from pipelines.core.history import read_history
from tests.conftest import ROOT, run_command
from tests.pipelines.test_review import write_verdicts

SETTINGS = SyntheticSettings(n_train=6, n_test=20, duration=8.0)
SPECIES = 12  # is in 6 of the 20 test recordings


def commands() -> list[list[str]]:
    """Return the command lines of the section, as words."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Review\n")[1].split("\n## ")[0]
    assert len(section.splitlines()) <= 25
    return [shlex.split(line, comments=True) for line in section.split("```")[1].strip().splitlines()]


def answer(folder: Path, truth: pd.Series) -> list[bool]:
    """Write verdicts by the truth of the recordings; return for each item whether it is confirmed."""
    items = pd.read_csv(folder / "queue.csv")
    present = [bool(truth[recording_id.rsplit("/", 1)[-1]]) for recording_id in items["recording_id"]]
    write_verdicts(folder, ["yes" if found else "no" for found in present])
    return present


def test_commands_of_the_walkthrough(tmp_path: Path) -> None:
    whole = load_dataset(write_dataset(tmp_path / "whole", n_jobs=1, settings=SETTINGS))
    assert whole.test_labels is not None
    box = whole.tp[whole.tp["species_id"] == SPECIES].iloc[0]
    truth = pd.Series(whole.test_labels[:, SPECIES], index=list(whole.test))
    for k, path in enumerate(whole.test.values()):
        folder = tmp_path / "RECORDINGS" / f"site{k % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(path), folder)
    shutil.copy(str(whole.train[box["recording_id"]]), tmp_path / "example.wav")
    answers = []
    with contextlib.chdir(tmp_path):
        for python, script, *flags in commands():
            if python == "cp":
                shutil.copy(script, *flags)
                continue
            command = Path(script).stem
            if "--box" in flags:
                first = flags.index("--box") + 1
                flags[first : first + 4] = [str(box[name]) for name in ("t_min", "t_max", "f_min", "f_max")]
            if "--data" in flags and command != "review":  # by default, results are in the repository
                flags += ["--results", "results/forest"]
            done = run_command(command, *flags)
            assert done.returncode == 0, (command, flags, done.stderr)
            if flags[0] in ("similar", "queue"):
                answers.append(answer(Path(flags[flags.index("--out") + 1]), truth))
    assert np.mean(answers[0][:10]) > 1.5 * truth.mean()  # the most similar windows
    history = read_history(tmp_path / "results" / "forest")
    lrap = history[history["metric"] == "lrap"]
    before, after = lrap.to_dict("records")
    assert before["recordings"] == after["recordings"]
    assert before["n_recordings"] <= after["n_recordings"]  # a review can add species to a recording
    assert before["n_boxes"] < after["n_boxes"]
    page = (tmp_path / "results" / "forest" / "report.html").read_text(encoding="utf-8")
    assert "<h2>History</h2>" in page
    assert "<h2>Review</h2>" in page
    assert (tmp_path / "results" / "forest" / "figures" / "density.png").exists()
