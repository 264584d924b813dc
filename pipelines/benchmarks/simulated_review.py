"""Simulated reviews: the test labels of a data set answer in the place of a reviewer."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.columns.similarity import CallExample, Whitening
from features.columns.statistics import Statistics
from features.common.output_folder import OutputFolder
from features.data.audio import file_of
from features.data.box import Box
from features.data.dataset import Dataset, load_dataset
from features.data.metadata import SiteTime
from features.frames.frames import Frames
from features.frames.spectral import SpectralSettings, mel_range
from features.frames.store import frames_of
from features.frames.windows import WindowSettings, window_starts
from models.metrics import ap_per_species, lrap_per_recording
from models.survey import Estimate, Verified, draw_sample, estimate
from pipelines.core.cli import ROOT
from pipelines.core.detector import Detector
from pipelines.core.runs import read_run
from pipelines.members.gbm import GBM
from pipelines.reviewing.population import Population, boxed_windows, read_population
from pipelines.reviewing.queue import VERDICTS, Queue, choose_items, write_queue
from pipelines.reviewing.verdicts import ANSWERS

TABLES = ("train_tp.csv", "train_fp.csv", "species.csv", "groups.csv")
STRATEGIES = ("queue", "random")
LOCATED = 0.5  # share of the highest score in a recording from which a window has the call
LEVEL = 90  # percentile of the level in the band of the example, the reference for search by example
Z90 = 1.645  # quantile of the normal distribution for intervals of 90 %


@dataclass(frozen=True)
class Reviewer:
    """Answers for windows of the test recordings.

    The labels say which species a recording has, not where. A window has a species if its recording has it,
    and if the score of `reference` is at least `LOCATED` of its highest score in the recording.

    Attributes
    ----------
    dataset : the data set, with test labels.
    reference : another model than the one in the simulation.
    """

    dataset: Dataset
    reference: Detector
    _located: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def has_species(self, recording_id: str, start: np.ndarray) -> np.ndarray:
        """Return which species the windows of a recording have that begin at `start`, (n, n_species) bool."""
        if recording_id not in self._located:
            row = list(self.dataset.test).index(recording_id)
            assert self.dataset.test_labels is not None
            windows = self.reference.score(file_of(self.dataset.test[recording_id])).windows
            P = windows[list(self.dataset.species)].to_numpy()
            located = (LOCATED * P.max(axis=0) <= P) & (self.dataset.test_labels[row] == 1)
            self._located[recording_id] = windows["start"].to_numpy(), located
        begin, located = self._located[recording_id]
        return located[np.abs(start[:, None] - begin).argmin(axis=1)]

    def of_population(self, population: Population) -> np.ndarray:
        """Return which species each window of a population has, (n_windows, n_species) bool."""
        starts = (population.start[population.recording == k] for k in range(len(population.recordings)))
        return np.concatenate(list(map(self.has_species, population.recordings, starts)))


def compare_rounds(
    reviewer: Reviewer, folder: Path, *, n_seeds: int, n_rounds: int, n: int
) -> Iterator[dict[str, Any]]:
    """Yield LRAP per recording and AP per species after each round of review, by `queue` and at random.

    The test recordings are divided at random into a pool for the review and a half that scores. Each
    round trains the GBM with default parameters and reviews `n` windows of the pool.

    Parameters
    ----------
    reviewer : answers for the pool; its data set has complete test labels.
    folder : scratch folder.
    n_seeds, n_rounds : numbers of repetitions and of rounds.
    n : verdicts per round.
    """
    dataset = reviewer.dataset
    for seed in range(n_seeds):
        ids = np.random.default_rng(seed).permutation(np.array(list(dataset.test), object))
        pool, scored = sorted(ids[: len(ids) // 2]), sorted(ids[len(ids) // 2 :])
        first = folder / f"first{seed}"
        _write_dataset(dataset, first / "data", scored)
        _train(first, seed)
        for strategy in STRATEGIES:
            own = folder / f"{strategy}{seed}"
            shutil.rmtree(own, ignore_errors=True)
            shutil.copytree(first, own)
            yield {"seed": seed, "strategy": strategy, "round": 0, "confirmed": 0, **_scores(own)}
            for k in range(1, n_rounds + 1):
                confirmed = _review(own, reviewer, pool, strategy, n=n, seed=1000 * seed + k)
                _train(own, seed)
                row = {"seed": seed, "strategy": strategy, "round": k, "confirmed": confirmed}
                yield {**row, **_scores(own)}


def _write_dataset(dataset: Dataset, root: Path, scored: list[str]) -> None:
    """Write the training part of a data set, and some of its test recordings with their labels."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(dataset.root / "train", root / "train")
    (root / "test").mkdir()
    for recording_id in scored:
        path = file_of(dataset.test[recording_id])
        shutil.copy2(path, root / "test" / f"{recording_id}{path.suffix}")
    for name in TABLES:
        if (dataset.root / name).exists():
            shutil.copy2(dataset.root / name, root)
    labels = pd.read_csv(dataset.root / "test_labels.csv")
    labels[labels["recording_id"].isin(scored)].to_csv(root / "test_labels.csv", index=False)


def _call(command: str, *flags: str | Path) -> None:
    subprocess.run([sys.executable, ROOT / "pipelines" / f"{command}.py", *flags], check=True)


def _train(folder: Path, seed: int) -> None:
    flags = ("--data", folder / "data", "--results", folder / "results", "--trials", "0")
    _call(GBM.name, *flags, "--folds", "3", "--seed", str(seed))


def _scores(folder: Path) -> dict[str, np.ndarray]:
    dataset, run = load_dataset(folder / "data"), read_run(folder / "results" / GBM.name)
    assert dataset.test_labels is not None
    assert run.test is not None
    truth, P = dataset.test_labels.astype(float), run.test.scores
    return {"lrap": lrap_per_recording(truth, P), "ap": ap_per_species(truth, P)}


def _review(folder: Path, reviewer: Reviewer, pool: list[str], strategy: str, *, n: int, seed: int) -> int:
    """Choose windows of the pool, answer, and add the verdicts to the data set; return the confirmed ones."""
    model, predicted, out = folder / "results" / GBM.name, folder / "predicted", folder / f"queue{seed}"
    recordings = {recording_id: file_of(reviewer.dataset.test[recording_id]) for recording_id in pool}
    shutil.rmtree(predicted, ignore_errors=True)
    _call("predict", *recordings.values(), "--model", model, "--out", predicted)
    detector = Detector.load(model)
    sites = {recording_id: SiteTime(site=recording_id) for recording_id in pool}
    population = read_population(detector, predicted, recordings, sites)
    known = boxed_windows(population, load_dataset(folder / "data"), detector.species)
    if strategy == "random":  # with random scores, the queue is a random choice
        population.scores[:] = np.random.default_rng(seed).random(population.scores.shape)
    queue, sampled = choose_items(
        population,
        detector,
        names=detector.species,
        n=n,
        verified=known,
        threshold=detector.thresholds.at(),
        seed=seed,
    )
    write_queue(OutputFolder(out, "simulate.py"), queue, sampled, population, n_jobs=2)
    confirmed = reviewer.of_population(population)[queue.items["window"], queue.species_of_items()]
    _write_verdicts(queue, confirmed, out / VERDICTS)
    _call("review", "apply", out / VERDICTS, "--data", folder / "data")
    return int(confirmed.sum())


def _write_verdicts(queue: Queue, confirmed: np.ndarray, file: Path) -> None:
    verdicts = queue.items[["item", "recording_id", "species", "t_min", "t_max"]]
    answers = np.where(confirmed, *ANSWERS[:2])
    verdicts.assign(queue=queue.id, verdict=answers, reviewed="").to_csv(file, index=False)


def interval_coverage(
    reviewer: Reviewer, population: Population, threshold: np.ndarray, *, n_seeds: int, n: int
) -> dict[str, float]:
    """Return the coverage of the intervals of `review.py estimate`, and their width.

    The width is divided by that of the Wilson interval of as many windows drawn at random.

    Parameters
    ----------
    reviewer : answers for the windows.
    population : windows of all test recordings.
    threshold : (n_species,) score from which each species is reported.
    n_seeds : number of samples per species.
    n : number of verdicts per species.
    """
    rows = []
    for k, present in enumerate(reviewer.of_population(population).T):
        p = population.scores[:, k].astype(float)
        above = p >= threshold[k]
        truth = {"density": present.mean()}
        if above.any() and present.any():
            truth |= {"precision": present[above].mean(), "recall": (present & above).sum() / present.sum()}
        for seed in range(n_seeds):
            rng = np.random.default_rng((seed, k))
            sample = draw_sample(p, n, place=population.place, threshold=threshold[k], rng=rng)
            verdict = np.full(len(p), np.nan)
            verdict[sample.window] = present[sample.window]
            found = estimate(Verified.of(p, sample.stratum, verdict, rng), threshold[k], rng)._asdict()
            drawn = rng.choice(len(p), n, replace=False)
            peers = {
                "density": _wilson_width(present[drawn]),
                "precision": _wilson_width(present[drawn][above[drawn]]),
                "recall": _wilson_width(above[drawn][present[drawn]]),
            }
            rows += [_coverage_row(name, found[name], truth[name], peers[name]) for name in truth]
    table = pd.DataFrame(rows).groupby("what").mean()
    table["width"] /= table.pop("peer")
    return {f"{what}, {column}": float(x) for what, row in table.iterrows() for column, x in row.items()}


def _coverage_row(what: str, found: Estimate, truth: float, peer: float) -> dict[str, Any]:
    covered = found.low <= truth <= found.high
    return {"what": what, "coverage": covered, "width": found.high - found.low, "peer": peer}


def _wilson_width(present: np.ndarray) -> float:
    """Return the width of the Wilson interval of a share; 1 without observations."""
    n = len(present)
    if n == 0:
        return 1.0
    q = present.mean()
    return float(2 * Z90 * np.sqrt(q * (1 - q) / n + (Z90 / n) ** 2 / 4) / (1 + Z90**2 / n))


def rank_by_example(reviewer: Reviewer, *, n_seeds: int) -> Iterator[dict[str, Any]]:
    """Yield AP of the windows of the test recordings, by similarity to a training box of each species.

    The reference is the level in the band of the box, its percentile `LEVEL`. The AP of recordings uses the
    highest value in each recording.
    """
    dataset, settings = reviewer.dataset, SpectralSettings()
    length, hop = WindowSettings().in_frames(settings.frame_rate)
    frames = {r: frames_of(file_of(audio), settings) for r, audio in dataset.test.items()}
    starts = {r: window_starts(len(own), length, hop) for r, own in frames.items()}
    measure = Statistics(settings).measure
    whitening = Whitening.fit(np.concatenate([measure(frames[r], starts[r], length) for r in frames]))
    located = np.concatenate([reviewer.has_species(r, starts[r] / settings.frame_rate) for r in frames])
    first = np.cumsum([0, *(len(own) for own in starts.values())])[:-1]
    assert dataset.test_labels is not None
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        for k in np.flatnonzero(located.any(axis=0)):
            own = dataset.tp[dataset.tp["species_id"] == k]
            chosen = own.iloc[rng.integers(len(own))]
            box = Box(*chosen[list(Box._fields)].astype(float))
            source = frames_of(file_of(dataset.train[chosen["recording_id"]]), settings)
            example = CallExample.of(source, box, length=length, settings=settings)
            found = [example.similarity(frames[r], starts[r], length, whitening) for r in frames]
            values: Mapping[str, np.ndarray] = {
                "similarity": np.concatenate(found),
                "level": np.concatenate(
                    [_levels(frames[r], starts[r], length, box, settings) for r in frames]
                ),
            }
            yield {"seed": seed, "species": dataset.species[k]} | {
                f"{what}, {name}": float(ap_per_species(Y.astype(float)[:, None], P[:, None])[0])
                for name, x in values.items()
                for what, Y, P in (
                    ("windows", located[:, k], x),
                    ("recordings", dataset.test_labels[:, k], np.maximum.reduceat(x, first)),
                )
            }


def _levels(
    frames: Frames, starts: np.ndarray, length: int, box: Box, settings: SpectralSettings
) -> np.ndarray:
    low, high = mel_range(box.f_min, box.f_max, settings)
    in_band = frames.levels[:, low:high].mean(axis=1)
    return np.array([np.percentile(in_band[first : first + length], LEVEL) for first in starts])
