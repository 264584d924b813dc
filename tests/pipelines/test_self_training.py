"""Self-training in the training commands."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from features.common.files import read_json
from pipelines.core.cli import training_parser
from pipelines.core.member import SelfTrainingMember, member_class
from pipelines.core.runs import read_run
from pipelines.core.self_training import self_train
from pipelines.core.task import load_task
from tests.conftest import error_message, run_command, tone, write_small_dataset

FLAGS = {
    "gbm": ("--trials", "0"),
    "mlp": ("--epochs", "10"),
    "gru": ("--epochs", "5"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set in which most of each call has no box, and without train_labels.csv."""
    root = write_small_dataset(tmp_path_factory.mktemp("self") / "small", seconds=4.0)
    (root / "train_labels.csv").unlink()
    return root


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    for k in range(3):
        soundfile.write(folder / f"u{k}.flac", tone(800 * (k + 1), 6.0, 16_000, seed=100 + k), 16_000)
    (folder / "damaged.wav").write_bytes(b"RIFF")
    return folder


def train(command: str, data: Path, results: Path, *extra: str | Path) -> str:
    flags = ("--data", data, "--results", results, "--folds", "3", "--jobs", "1", *FLAGS[command], *extra)
    done = run_command(command, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", FLAGS)
def test_scores_become_labels(command: str, data: Path, unlabelled: Path, tmp_path: Path) -> None:
    scores = {}
    for name, extra in {"self": (), "more": ("--unlabelled", unlabelled)}.items():
        output = train(command, data, tmp_path / name, "--self-train", "1", *extra)
        run = read_run(tmp_path / name / command)
        config = read_json(tmp_path / name / command / "config.json")["self_training"]
        scores[name] = run.oof.scores
        assert run.oof.scores.shape == (6, 3)
        assert run.test is not None
        assert sum(config["n_soft_labels"]) > 0
        assert config["rounds"] == 1
        assert config["unlabelled"]["recordings"] == (3 if name == "more" else 0)
        assert "soft labels for the model of a fold" in output
    assert f"{unlabelled}: 4 unlabelled recordings" in output
    failed = pd.read_csv(tmp_path / "more" / "failed_recordings.csv")
    assert failed[["recording_id", "split"]].to_numpy().tolist() == [["damaged", "unlabelled"]]
    assert not np.array_equal(scores["self"], scores["more"])
    done = run_command(
        "predict", data / "test", "--model", tmp_path / "more" / command, "--out", tmp_path / "o"
    )
    assert done.returncode == 0, done.stderr


def test_default_is_no_self_training(trained: tuple[Path, Path]) -> None:
    assert "self_training" not in read_json(trained[1] / "gbm" / "config.json")


def test_interrupted_rounds_continue_to_the_same_files(data: Path, tmp_path: Path) -> None:
    train("gru", data, tmp_path / "whole", "--self-train", "2")
    networks = sorted((tmp_path / "whole" / "checkpoints" / "gru").rglob("*.pt"))
    assert len(networks) == 9  # of three folds, before and in each round
    killed = shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for path in networks[4:]:  # as if the command had been killed in the first round
        (killed / path.relative_to(tmp_path / "whole")).unlink()
    shutil.rmtree(killed / "gru")
    train("gru", data, killed, "--self-train", "2")
    for name in ("oof.npz", "test.npz", "submission.csv"):
        assert (killed / "gru" / name).read_bytes() == (tmp_path / "whole" / "gru" / name).read_bytes()


@pytest.mark.parametrize("name", FLAGS)
def test_labels_of_a_fold_do_not_affect_its_scores(data: Path, tmp_path: Path, name: str) -> None:
    """All boxes of the recordings of a fold get another species; only scores of other folds may change."""
    parser = training_parser("")
    member_class(name)().add_flags(parser)
    flags = ["--data", str(data), "--results", str(tmp_path), "--folds", "3", "--jobs", "1", *FLAGS[name]]
    args = parser.parse_args(flags)
    args.self_train = 1
    task = load_task(args)
    in_fold = np.array(list(task.dataset.train))[task.fold == 0]
    tp = task.dataset.tp
    species = np.where(tp["recording_id"].isin(in_fold), (tp["species_id"] + 1) % 3, tp["species_id"])
    other = replace(task.dataset, tp=tp.assign(species_id=species))
    scores = []
    for folder, dataset in (("before", task.dataset), ("after", other)):
        member, own = member_class(name)(), replace(task, dataset=dataset, results=tmp_path / folder)
        assert isinstance(member, SelfTrainingMember)
        result = self_train(member, own, args, member.cross_fit(own, args))
        assert min(result.config["self_training"]["n_soft_labels"]) > 0
        scores.append(result.scores)
    same = (scores[0] == scores[1]).all(axis=1)
    np.testing.assert_array_equal(same, task.per_window(task.fold) == 0)


def test_unlabelled_recordings_need_self_training(data: Path, unlabelled: Path, tmp_path: Path) -> None:
    done = run_command("gru", "--data", data, "--results", tmp_path, "--unlabelled", unlabelled)
    assert f"--unlabelled {unlabelled}: only self-training uses it; add --self-train 1" in error_message(done)


def test_training_recordings_are_not_unlabelled(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "unlabelled" / "other_name.flac"
    copy.parent.mkdir()
    shutil.copyfile(data / "train" / "a1.flac", copy)
    flags = (
        "--data",
        data,
        "--results",
        tmp_path / "results",
        "--self-train",
        "1",
        "--unlabelled",
        copy.parent,
    )
    message = error_message(run_command("gru", *flags))
    assert f"{copy}: has the same audio as the training recording 'a1', which is used without this" in message


def test_members_on_whole_recordings_have_no_such_flag(data: Path, tmp_path: Path) -> None:
    done = run_command("spectrum", "--data", data, "--results", tmp_path, "--self-train", "1")
    assert "unrecognized arguments" in done.stderr
