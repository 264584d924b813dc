"""Run folders whose files have changed bytes, values or arrays, or are exchanged."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from features.common.errors import UserError
from pipelines.core.detector import Detector
from tests.conftest import sign_all
from tests.fuzzing.mutation import check_message, mutated, mutated_json

FILES = {
    "gbm": (
        *("gbm/config.json", "gbm/manifest.json", "gbm/trees.json", "gbm/trees_s*.txt"),
        *("gbm/linear.npz", "gbm/species_bands.npz", "gbm/templates.npz", "gbm/patches.npz"),
    ),
    "gru": ("gru/config.json", "gru/manifest.json", "gru/fold*.pt"),
    "blend": ("blend/config.json", "blend/manifest.json"),
}
Change = Callable[[bytes, np.random.Generator], bytes]


def try_model(folder: Path, rng: np.random.Generator, results: Path, recording: Path) -> str:
    """Score a recording with a model that has a file with changed bytes; return the outcome."""
    return _score_changed(folder, rng, results, recording, pattern="*", change=mutated)


def try_config(folder: Path, rng: np.random.Generator, results: Path, recording: Path) -> str:
    """Score a recording with a model that has a changed value in a JSON file."""
    return _score_changed(folder, rng, results, recording, pattern="*.json", change=mutated_json)


def try_array(folder: Path, rng: np.random.Generator, results: Path, recording: Path) -> str:
    """Score a recording with a model that has a changed array."""
    return _score_changed(folder, rng, results, recording, pattern="*.npz", change=_changed_array)


def try_swap(folder: Path, rng: np.random.Generator, results: Path, recording: Path) -> str:
    """Exchange two files of the same kind of a model: it must be rejected."""
    models = _copy(results, folder)
    pattern = str(rng.choice(["gbm/trees_s*.txt", "gru/fold*.pt"]))
    files = sorted(models.glob(pattern))
    first, second = (files[k] for k in rng.choice(len(files), 2, replace=False))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    try:
        Detector.load(first.parent)
    except UserError as error:
        return check_message(error, models)
    assert contents[0] == contents[1], f"{first.name} and {second.name} are exchanged"
    return "read"


def _copy(results: Path, folder: Path) -> Path:
    models = folder / "models"
    shutil.rmtree(models, ignore_errors=True)
    return shutil.copytree(
        results, models, ignore=shutil.ignore_patterns("frames", "checkpoints", "optuna.db")
    )


def _score_changed(
    folder: Path, rng: np.random.Generator, results: Path, recording: Path, *, pattern: str, change: Change
) -> str:
    """Score a recording with a model that has a changed file; return the outcome.

    In half of the cases the manifest lists the changed file, so that only the loaders can reject it. In the
    others, the scores must be those of the unchanged model.
    """
    models = _copy(results, folder)
    every = [name for names in FILES.values() for name in names]  # a blend also uses the files of its members
    files_of = {
        model: sorted(file for name in names for file in models.glob(name) if file.match(pattern))
        for model, names in (FILES | {"blend": every}).items()
    }
    model = str(rng.choice([model for model, files in files_of.items() if files]))
    files = files_of[model]
    file = files[rng.integers(len(files))]
    file.write_bytes(change(file.read_bytes(), rng))
    signed = bool(rng.integers(2)) and file.name != "manifest.json"
    if signed:
        sign_all(models)
    try:
        scores = Detector.load(models / model).score(recording).recording
    except UserError as error:
        return check_message(error, models)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    if not signed:
        expected = Detector.load(results / model).score(recording).recording
        np.testing.assert_array_equal(scores, expected, f"{file.name} was changed")
    return "read"


def _changed_array(content: bytes, rng: np.random.Generator) -> bytes:
    """Return an npz file after a change of an array: its type, shape, values or compression."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)
    name = str(rng.choice(list(arrays)))
    array, written = arrays[name], io.BytesIO()
    match rng.integers(7):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array.astype(str(rng.choice(["f2", "f8", "i8", "c8", "U5", "?"])))
        case 2:
            arrays[name] = np.repeat(np.atleast_1d(array), 2, axis=0)
        case 3:
            arrays[name] = np.atleast_1d(array).ravel()
        case 4 if array.size:
            changed = np.atleast_1d(array).copy()
            changed.flat[rng.integers(changed.size)] = {"f": np.nan, "i": 2**31 - 1, "b": True}[
                changed.dtype.kind
            ]
            arrays[name] = changed.reshape(array.shape)
        case 5:
            np.savez_compressed(written, **arrays | {name: np.zeros(100_000_000, np.uint8)})
            return written.getvalue()
        case _:
            header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
            with zipfile.ZipFile(written, "w") as parts:
                for other, values in arrays.items():
                    with parts.open(f"{other}.npy", "w") as part:
                        if other == name:  # states four terabytes
                            np.lib.format.write_array_header_1_0(part, header)
                        else:
                            np.lib.format.write_array(part, values)
            return written.getvalue()
    np.savez(written, **arrays)
    return written.getvalue()
