"""Training windows: nothing of a held-out recording enters the model that scores it."""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

from features.data.dataset import BOX_COLUMNS
from features.frames.store import FrameStore
from pipelines.core.cli import training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import N_OVERLAYS, TrainingWindows

N_RECORDINGS = 36
N_SPECIES = 2


def arguments(root: Path) -> Namespace:
    flags = ["--data", str(root), "--results", str(root / "results"), "--folds", "3", "--jobs", "1"]
    return training_parser("").parse_args(flags)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return a task with recordings of white noise and boxes in them, from which nothing can be learned."""
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
def windows(task: Task) -> TrainingWindows:
    return TrainingWindows(task)


def best_columns(windows: TrainingWindows, X: np.ndarray) -> np.ndarray:
    """Return the columns with the highest correlation of a window with the templates of each species."""
    names = windows.features.names()
    return X[:, [names.index(f"s{k}_template_best") for k in range(N_SPECIES)]]


def mean_auc(Y: np.ndarray, P: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(Y[:, k] == 1, P[:, k]) for k in range(N_SPECIES)]))


def test_templates_of_a_group_are_not_compared_with_its_windows(windows: TrainingWindows, task: Task) -> None:
    """Noise resembles only the templates that were cut from it, so a high AUC would show a leak."""
    leaking = windows.features.columns(windows._measured)  # without groups, no template is excluded
    assert mean_auc(task.labels, best_columns(windows, leaking)) > 0.8
    X, Y = windows.whole()
    assert mean_auc(Y, best_columns(windows, X)) < 0.6
    for k in range(task.n_folds):
        fold = windows.fold(k)
        assert mean_auc(fold.Y, best_columns(windows, fold.X)) < 0.65
        assert mean_auc(task.labels[fold.held], best_columns(windows, fold.X_held)) < 0.7


def test_unlabelled_windows_of_reviewed_recordings_are_left_out(task: Task) -> None:
    ids = list(task.dataset.train)
    known = ~np.isnan(task.labels).all(axis=1)
    assert task.used.all()
    reviewed = frozenset(ids[:12])
    other = replace(task, dataset=replace(task.dataset, reviewed=reviewed))
    in_reviewed = other.per_window(np.isin(ids, list(reviewed)))
    np.testing.assert_array_equal(other.used, known | ~in_reviewed)
    windows = TrainingWindows(other)
    drawn = windows._draw(other.labels, other.used, n_overlays=10_000)
    assert set(drawn) == set(np.flatnonzero(other.used))
    assert other.used[windows._pairs].all()
    mostly = replace(task, dataset=replace(task.dataset, reviewed=frozenset(ids[:30])))
    assert mostly.used.all()


def test_fold_does_not_depend_on_its_held_out_boxes(windows: TrainingWindows, task: Task) -> None:
    """Different species and bands of held-out boxes change neither training examples nor held-out windows."""
    recordings = np.array(list(task.dataset.train))
    tp = task.dataset.tp.copy()
    held = tp["recording_id"].isin(recordings[task.fold == 0])
    tp.loc[held, "species_id"] = 1 - tp.loc[held, "species_id"]
    tp.loc[held, ["f_min", "f_max"]] = 9000.0, 12_000.0
    other_task = replace(task, dataset=replace(task.dataset, tp=tp))
    other = TrainingWindows(other_task)
    before, after = windows.fold(0), other.fold(0)
    for name in ("X", "Y", "held", "X_held"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    for k in (1, 2):
        assert not np.array_equal(windows.fold(k).X_held, other.fold(k).X_held)


def test_fold_does_not_depend_on_its_held_out_audio(windows: TrainingWindows, task: Task) -> None:
    """Different sound in held-out recordings does not change the training examples."""
    held = set(np.array(list(task.dataset.train))[task.fold == 0])

    class Changed(FrameStore):
        def packed(self, recording_id: str, split: str) -> Iterator[np.ndarray]:
            for block in super().packed(recording_id, split):
                yield block[::-1] if recording_id in held else block

    other = TrainingWindows(replace(task, store=Changed(task.store.folder.parent, task.store.settings)))
    before, after = windows.fold(0), other.fold(0)
    np.testing.assert_array_equal(before.X, after.X)
    np.testing.assert_array_equal(before.Y, after.Y)
    assert not np.array_equal(before.X_held, after.X_held)
    for k in (1, 2):
        assert not np.array_equal(windows.fold(k).X, other.fold(k).X)


def test_each_window_is_held_out_once_and_is_not_an_example_of_its_fold(
    windows: TrainingWindows, task: Task
) -> None:
    folds = [windows.fold(k) for k in range(task.n_folds)]
    held = np.concatenate([fold.held for fold in folds])
    assert sorted(held) == list(range(len(task.labels)))
    statistics = slice(0, 100)
    for fold in folds:
        held_rows = {row.tobytes() for row in fold.X_held[:, statistics]}
        assert not held_rows & {row.tobytes() for row in fold.X[:, statistics]}


def test_overlays_mix_windows_of_one_fold_and_have_the_labels_of_both(
    windows: TrainingWindows, task: Task
) -> None:
    fold = task.per_window(task.fold)
    call, place = windows._pairs.T
    with_call = (task.labels == 1).any(axis=1)
    assert np.bincount(call, minlength=len(with_call)).tolist() == (N_OVERLAYS * with_call).tolist()
    assert (fold[call] == fold[place]).all()
    X, Y = windows.whole()
    assert len(X) == len(Y)
    of_overlays = Y[-len(call) :]
    assert ((of_overlays == 1).any(axis=1)).all()
    assert np.isnan(Y[: -len(call)]).all(axis=1).sum() == min(
        (~with_call).sum(), with_call.sum() + len(call)
    )  # as many unlabelled windows as labelled windows and overlays


def test_window_added_to_itself_has_its_own_measures(windows: TrainingWindows, task: Task) -> None:
    """Overlays are measured in one concatenated recording, and windows in their own recording."""
    with_call = np.flatnonzero((task.labels == 1).any(axis=1))[:3]
    assert len(set(task.per_window(np.arange(len(task.fold)))[with_call])) == 1
    measured = windows._measure_overlays(np.stack([with_call, with_call], axis=1))
    np.testing.assert_allclose(measured, windows._measured[with_call], rtol=2e-3, atol=2e-3)
