"""Contents of the report: the runs, scores and truth that it shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from features.data.dataset import Dataset
from features.data.identity import data_identity
from features.frames.store import FrameStore
from models.scoring.thresholds import DEFAULT_PRECISION
from pipelines.core.detector import Detector
from pipelines.core.member import ColumnScorer
from pipelines.core.run_config import BASELINE, BLEND, MEMBER
from pipelines.core.runs import Run, RunError, read_runs
from pipelines.core.truth import presence


@dataclass(frozen=True)
class ScoredSplit:
    """Recordings of a split with their frames, scores and truth.

    Attributes
    ----------
    name : "train" or "test".
    dataset : the data set.
    store : frames of the recordings.
    scores : (n_recordings, n_species).
    known : (n_recordings, n_species) presence: 1, 0, or nan for unknown.
    threshold : (n_species,) score from which each species is reported.
    """

    name: str
    dataset: Dataset
    store: FrameStore
    scores: np.ndarray
    known: np.ndarray
    threshold: np.ndarray

    @property
    def recordings(self) -> list[str]:
        """Ids of the recordings."""
        return list(self.dataset.train if self.name == "train" else self.dataset.test)

    def calls(self, recording_id: str, species: int) -> pd.DataFrame:
        """Return the TP boxes of a species in a recording; none for a test recording."""
        tp = self.dataset.tp
        boxed = (tp["recording_id"] == recording_id) & (tp["species_id"] == species)
        return tp[boxed & (self.name == "train")]


@dataclass(frozen=True)
class Contents:
    """Runs, scores and truth that the page shows.

    Attributes
    ----------
    results : results folder.
    dataset : the data set, without recordings that cannot be read.
    runs : runs of members and blend, by name.
    prior : run of the baseline "prior"; None if it does not exist.
    best : name of the run used for examples: the blend, or else the best member.
    detector : detector of the best run.
    explained : trained members that explain their scores, by name.
    split : "test" if its truth is known, else "train".
    known : (n_recordings, n_species) presence of the species in the split: 1, 0, or nan for unknown.
    """

    results: Path
    dataset: Dataset
    runs: Mapping[str, Run]
    prior: Run | None
    best: str
    detector: Detector
    explained: Mapping[str, ColumnScorer]
    split: str
    known: np.ndarray

    @classmethod
    def of(cls, results: Path, dataset: Dataset) -> "Contents":
        """Return the contents of the report for a results folder.

        Runs of other data are left out with a warning.

        Raises
        ------
        RunError
            The folder holds no trained model.
        """
        runs = read_runs(results, data_identity(dataset))
        prior = runs.get("prior")
        runs = {name: run for name, run in runs.items() if run.kind != BASELINE}
        if not any(run.kind == MEMBER for run in runs.values()):
            raise RunError(
                f"{results}: no trained model to report on; train one, for example with 'make demo'"
            )
        best = best_run(runs)
        detector = Detector.load(results / best)
        explained: dict[str, ColumnScorer] = {}
        for member in detector.members:
            scorer = member.scorer
            if isinstance(scorer, ColumnScorer) and member.name in runs:
                explained[member.name] = scorer
        known = presence(dataset) if dataset.test_labels is None else dataset.test_labels.astype(float)
        return cls(
            results=results,
            dataset=dataset,
            runs=runs,
            prior=prior,
            best=best,
            detector=detector,
            explained=explained,
            split="train" if dataset.test_labels is None else "test",
            known=known,
        )

    @property
    def split_name(self) -> str:
        """Name of the split on the leaderboard."""
        return "test" if self.split == "test" else "oof"

    @property
    def truth(self) -> np.ndarray:
        """Truth that the scores are compared with, (n_recordings, n_species): unknown species are absent."""
        return np.nan_to_num(self.known)

    @property
    def threshold(self) -> np.ndarray:
        """Score from which the best run reports each species by default, (n_species,)."""
        return self.detector.thresholds.at(precision=DEFAULT_PRECISION)

    def scores(self) -> dict[str, np.ndarray]:
        """Return the scores of the split, shape (n_recordings, n_species), by run."""
        return {name: self.scores_of(run) for name, run in self.runs.items()}

    def scores_of(self, run: Run) -> np.ndarray:
        """Return the scores of a run in the split, shape (n_recordings, n_species)."""
        scores = run.oof if self.split == "train" else run.test
        assert scores is not None  # runs without scores of the test recordings are left out
        return scores.scores

    def scored_split(self, store: FrameStore) -> ScoredSplit:
        """Return the split with the scores and thresholds of the best run."""
        return ScoredSplit(
            name=self.split,
            dataset=self.dataset,
            store=store,
            scores=self.scores()[self.best],
            known=self.known,
            threshold=self.threshold,
        )

    @property
    def figures(self) -> Path:
        return self.results / "figures"


def best_run(runs: Mapping[str, Run]) -> str:
    """Return the name of the run to show: the blend, or else the best trained member.

    A blend that only gives weight to external scores has no model to show.
    """
    for name, run in runs.items():
        if run.kind == BLEND:
            weights = {member: entry["weight"] for member, entry in run.config["members"].items()}
            trained = [member for member in weights if member in runs and runs[member].kind == MEMBER]
            if any(weights[member] > 0 for member in trained):
                return name
    return best_member(runs)


def best_member(runs: Mapping[str, Run]) -> str:
    """Return the name of the trained member with the highest out-of-fold LRAP; if it is equal, macro AUC."""
    trained = [name for name, run in runs.items() if run.kind == MEMBER]
    oof = {name: runs[name].metrics["oof"] for name in trained}
    return max(trained, key=lambda name: (oof[name]["lrap"], oof[name]["macro_auc"]))
