"""Runs with given scores, without a trained model."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.data.dataset import Dataset, load_dataset
from features.frames.spectral import SpectralSettings
from features.frames.windows import WindowSettings
from pipelines.core.run_config import BASELINE, BLEND, EXTERNAL, MEMBER
from pipelines.core.runs import NewRun, read_manifest, run_names, write_run

WriteRun = Callable[..., None]
"""Function that writes a run. Its arguments are a name, a kind and further fields of `NewRun`."""


CALIBRATED = {"calibration": [[1.0, 0.0]] * 3, "pooling": "max"}
CONFIGS: dict[str, dict[str, Any]] = {
    BASELINE: {},
    EXTERNAL: CALIBRATED,
    MEMBER: {
        **CALIBRATED,
        "spectral": asdict(SpectralSettings()),
        "window": asdict(WindowSettings()),
        "longest": 101,
        "sample_rate": 32_000,
        "features_version": 1,
        "folds": 3,
    },
    BLEND: {"calibration": [[1.0, 0.0]] * 3, "space": "probability"},
}
"""Entries of config.json that a run of each kind must have."""


@pytest.fixture(scope="session")
def dataset(trained: tuple[Path, Path]) -> Dataset:
    return load_dataset(trained[0])


@pytest.fixture
def write(dataset: Dataset, tmp_path: Path) -> WriteRun:
    """Return a function that writes a run with random scores to `tmp_path`."""

    def write_one(name: str, kind: str, config: Mapping[str, Any] | None = None, **fields: object) -> None:
        rng, needed = np.random.default_rng(len(name)), CONFIGS[kind]
        if kind == BLEND:  # of all runs that exist, with equal weights
            ids = {run: read_manifest(tmp_path / run).id for run in run_names(tmp_path) if run != name}
            needed = {**needed, "members": {run: {"weight": 1 / len(ids), "id": ids[run]} for run in ids}}
        run = NewRun(
            name=name,
            kind=kind,
            oof=rng.random((len(dataset.train), dataset.n_species)),
            test=rng.random((len(dataset.test), dataset.n_species)),
            fold=np.arange(len(dataset.train)) % 3,
            holdout=np.ones(len(dataset.train), bool),
            seconds={"oof": 1.23, "test": 4.56},
            seed=0,
            config={**needed, **(config or {})},
        )
        write_run(tmp_path, dataset, replace(run, **fields))  # type: ignore[arg-type]

    return write_one
