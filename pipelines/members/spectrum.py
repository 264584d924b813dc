"""The member `spectrum`: LightGBM and a ridge discriminant on the spectrum of whole recordings."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from features.columns.spectrum import PERCENTILES, recording_spectrum
from features.frames.frames import Frames
from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.trees_and_linear import default_model, load_model, save_model
from models.folds import out_of_fold, split
from pipelines.core.member import CrossFit, WindowScorer
from pipelines.core.task import Task


@dataclass(frozen=True)
class SpectrumScorer(WindowScorer):
    """The model that scores a recording by its spectrum; all windows of a recording get the same scores."""

    model: LogOddsMean

    def inputs(self, frames: Frames, starts: np.ndarray, length: int) -> np.ndarray:
        return np.tile(recording_spectrum(frames), (len(starts), 1))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(X)

    def save(self, folder: Path) -> None:
        save_model(self.model, folder)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        n_columns = len(PERCENTILES) * config["spectral"]["n_mels"]
        return cls(load_model(folder, n_columns, len(config["species"])))


class Spectrum:
    """LightGBM and a ridge discriminant on the spectrum of whole recordings, averaged in log odds.

    The spectrum describes the site and the sounds that last for most of a recording, such as choruses. Both
    are missing from the members on windows, whose levels are relative to the recording's background.
    """

    name = "spectrum"
    scorer = SpectrumScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add nothing: this member has no flags of its own."""

    def cross_fit(self, task: Task, args: argparse.Namespace) -> CrossFit:
        self._X = task.compute(
            "train", lambda frames, starts, length: recording_spectrum(frames)[None], "spectra"
        )
        self._model = default_model(task.seed, task.jobs_per_fit)
        started = time.perf_counter()
        *_, P = out_of_fold(self._model, split(self._X, task.known, task.fold))
        return CrossFit(task.per_window(P), time.perf_counter() - started)

    def fit_final(self, task: Task, args: argparse.Namespace) -> SpectrumScorer:
        return SpectrumScorer(self._model.fit(self._X, task.known))
