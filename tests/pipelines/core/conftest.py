"""Runs with given scores, without a trained model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.data.dataset import Dataset, load_dataset
from pipelines.core.runs import NewRun, write_run

WriteRun = Callable[..., None]
"""Function that writes a run. Its arguments are a name, a kind and further fields of `NewRun`."""


@pytest.fixture(scope="session")
def dataset(trained: tuple[Path, Path]) -> Dataset:
    return load_dataset(trained[0])


@pytest.fixture
def write(dataset: Dataset, tmp_path: Path) -> WriteRun:
    """Return a function that writes a run with random scores to `tmp_path`."""

    def write_one(name: str, kind: str, **fields: object) -> None:
        rng = np.random.default_rng(len(name))
        run = NewRun(
            name=name,
            kind=kind,
            oof=rng.random((len(dataset.train), dataset.n_species)),
            test=rng.random((len(dataset.test), dataset.n_species)),
            fold=np.arange(len(dataset.train)) % 3,
            seconds={"oof": 1.23, "test": 4.56},
            seed=0,
        )
        write_run(tmp_path, dataset, replace(run, **fields))  # type: ignore[arg-type]

    return write_one
