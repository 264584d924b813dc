"""What the GBM trains on: above all, that no fold knows anything of what it scores."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

from features.data.dataset import BOX_COLUMNS
from pipelines.core.cli import training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import N_OVERLAYS, Examples

N_RECORDINGS = 36
N_SPECIES = 2


def arguments(root: Path) -> Namespace:
    flags = ["--data", str(root), "--results", str(root / "results"), "--folds", "3", "--jobs", "1"]
    return training_parser("").parse_args(flags)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """White noise, in which boxes claim species by chance: nothing can be learned from it."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    (root / "train").mkdir()
    boxes = []
    for k in range(N_RECORDINGS):
        y = 0.1 * rng.standard_normal(4 * 32_000)
        soundfile.write(root / "train" / f"r{k}.wav", y, 32_000)
        boxes.append((f"r{k}", k % N_SPECIES, 1, 1.25, 2000, 1.75, 7000 + 500 * (k % 2)))
    pd.DataFrame(boxes, columns=list(BOX_COLUMNS)).to_csv(root / "train_tp.csv", index=False)
    pairs = {"recording_id": [box[0] for box in boxes], "group": [k // 2 for k in range(N_RECORDINGS)]}
    pd.DataFrame(pairs).to_csv(root / "groups.csv", index=False)
    return load_task(arguments(root))


@pytest.fixture(scope="module")
def examples(task: Task) -> Examples:
    return Examples(task)


def best_columns(examples: Examples, X: np.ndarray) -> np.ndarray:
    names = examples.descriptor.names()
    return X[:, [names.index(f"s{k}_template_best") for k in range(N_SPECIES)]]


def mean_auc(Y: np.ndarray, P: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(Y[:, k] == 1, P[:, k]) for k in range(N_SPECIES)]))


def test_no_example_finds_itself(examples: Examples, task: Task) -> None:
    """Calls that are mere noise resemble no others; only what was cut from them would look like a find."""
    everything = np.ones(len(examples.descriptor.templates), bool)
    leaking = examples.descriptor.columns(examples._windows, everything)
    assert mean_auc(task.labels, best_columns(examples, leaking)) > 0.8
    X, Y = examples.whole()
    assert mean_auc(Y, best_columns(examples, X)) < 0.6
    for k in range(task.n_folds):
        fold = examples.fold(k)
        assert mean_auc(fold.Y, best_columns(examples, fold.X)) < 0.65
        assert mean_auc(task.labels[fold.held], best_columns(examples, fold.X_held)) < 0.7


def test_a_fold_knows_nothing_of_the_boxes_that_it_scores(examples: Examples, task: Task) -> None:
    """Other species, other bands in the held-out boxes: neither its examples nor its windows change."""
    recordings = np.array(list(task.dataset.train))
    tp = task.dataset.tp.copy()
    held = tp["recording_id"].isin(recordings[task.fold == 0])
    tp.loc[held, "species_id"] = 1 - tp.loc[held, "species_id"]
    tp.loc[held, ["f_min", "f_max"]] = 9000.0, 12_000.0
    other_task = replace(task, dataset=replace(task.dataset, tp=tp))
    other_task.__dict__["fold"] = task.fold  # the same folds, though the truth that they balance is another
    other = Examples(other_task)
    before, after = examples.fold(0), other.fold(0)
    for name in ("X", "Y", "held", "X_held"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    for k in (1, 2):
        assert not np.array_equal(examples.fold(k).X_held, other.fold(k).X_held)


def test_windows_of_every_fold_are_held_once_and_are_no_examples_of_it(
    examples: Examples, task: Task
) -> None:
    folds = [examples.fold(k) for k in range(task.n_folds)]
    held = np.concatenate([fold.held for fold in folds])
    assert sorted(held) == list(range(len(task.labels)))
    statistics = slice(0, 100)
    for fold in folds:
        windows = {row.tobytes() for row in fold.X_held[:, statistics]}
        assert not windows & {row.tobytes() for row in fold.X[:, statistics]}


def test_overlays_are_of_one_fold_and_know_what_both_know(examples: Examples, task: Task) -> None:
    fold = task.per_window(task.fold)
    call, place = examples._pairs.T
    shows = (task.labels == 1).any(axis=1)
    assert np.bincount(call, minlength=len(shows)).tolist() == (N_OVERLAYS * shows).tolist()
    assert (fold[call] == fold[place]).all()
    X, Y = examples.whole()
    assert len(X) == len(Y)
    laid = Y[-len(call) :]
    assert ((laid == 1).any(axis=1)).all()
    assert np.isnan(Y[: -len(call)]).all(axis=1).sum() == min(
        (~shows).sum(), shows.sum() + len(call)
    )  # of the unknown as many as of the others


def test_an_overlay_is_described_as_a_recording_would_be(examples: Examples, task: Task) -> None:
    """Laid over itself a window is itself, measured side by side with others or within its recording."""
    shows = np.flatnonzero((task.labels == 1).any(axis=1))[:3]
    assert len(set(task.per_window(np.arange(len(task.fold)))[shows])) == 1
    measured = examples._measure_overlays(np.stack([shows, shows], axis=1))
    np.testing.assert_allclose(measured, examples._windows[shows], rtol=2e-3, atol=2e-3)
