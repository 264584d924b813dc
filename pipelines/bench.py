"""Speed against peers: everything on the same input, in turns, in one run; what counts are the ratios."""

import sys
from pathlib import Path

if __name__ == "__main__":  # the repository, not this folder: its names must not hide a library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from features.columns.sequences import window_sequences
from features.columns.statistics import window_statistics
from features.columns.window_features import Descriptor
from features.common.parallel import in_parallel
from features.data.audio import AudioError
from features.data.dataset import Dataset, load_dataset
from features.data.synthetic import SyntheticSettings, write_dataset
from features.frames.spectral import SpectralSettings
from features.frames.store import FrameStore, frames_of
from features.frames.windows import WindowSettings, window_starts
from models.estimators.gru import GRUClassifier
from models.estimators.one_vs_rest_gbm import OWN_BINS, OneVsRestGBM
from models.metrics import lrap
from models.scoring.aggregation import Readout
from models.scoring.blending import Blend
from models.scoring.calibration import IDENTITY, PlattCalibrator
from models.scoring.pooling import pool
from models.scoring.thresholds import Thresholds
from pipelines.benchmarks import reference_implementations as peers
from pipelines.benchmarks.timing import Report, alternate, in_new_process
from pipelines.core.cli import ROOT, run
from pipelines.core.detector import ALONE, GBMWindows, GRUWindows, Member, Recogniser
from pipelines.core.runs import median_bands
from pipelines.core.task import Task, presence
from pipelines.core.training_windows import Examples
from pipelines.predict import scan

RFCX_MINUTES = 6_719  # 4,727 training and 1,992 test recordings of a minute
N_CORES = 2
N_FOLDS = 5
RECORDINGS = SyntheticSettings(
    n_train=76, n_test=100, duration=60.0, sr=48_000, calls_per_species=5, n_confusers=16
)
MOST_POSITIVES = 100  # windows of a species, as in RFCX


@dataclass(frozen=True)
class BenchSettings:
    """How much is measured. Training windows and labels are about as many as RFCX's boxes."""

    recordings: SyntheticSettings = RECORDINGS
    n_timed: int = 8
    """Recordings that every contestant is timed on."""
    repeats: int = 3
    n_scaling: int = 60
    """Recordings of a run on one core and on two."""
    n_few: int = 40
    n_many: int = 400
    """Recordings of a short and a long run, of which the second may not need more memory."""
    n_seeds: int = 8
    """Fits of the GBM, each with another seed and other positives."""
    epochs: int = 5


def bench_features(dataset: Dataset, folder: Path, settings: BenchSettings) -> Report:
    """A recording's file to its windows' columns; then many files on one core and on two, and memory."""
    spectral, window = SpectralSettings(), WindowSettings()
    descriptor = Examples(_task(dataset, folder)).descriptor
    stft = {"n_fft": spectral.n_fft, "hop_length": spectral.hop_length}
    contestants: dict[str, Callable[[Path], Any]] = {
        "understory": lambda path: _file_columns(path, descriptor, window),
        "floor: decode, resample, FFT": lambda path: peers.floor(path, spectral),
        "librosa per window": peers.librosa_per_window,
        "librosa per window, our frames": lambda path: peers.librosa_per_window(path, spectral.sr, **stft),
        "librosa, one STFT": peers.librosa_shared_stft,
        "librosa, one STFT, our frames and windows": lambda path: peers.librosa_shared_stft(
            path, spectral.sr, **stft, window=window
        ),
    }
    report = Report("a recording of a minute")
    opensmile = peers.opensmile_descriptors()
    if opensmile is None:
        report.figures["openSMILE ComParE_2016 LLD"] = "not installed: pip install -e '.[bench]'"
    else:
        contestants["openSMILE ComParE_2016 LLD"] = opensmile
        report.figures["openSMILE version"] = version("opensmile")
    with threadpool_limits(1):
        report.times = alternate(
            contestants, list(dataset.train.values())[: settings.n_timed], settings.repeats
        )
    for peer in list(contestants)[2:]:
        report.ratio(peer, "understory")
    report.ratio("understory", "floor: decode, resample, FFT")

    recordings = _repeated(dataset, settings.n_scaling)
    runs = {f"{n} core(s)": _store_run(recordings, folder / "scratch", n) for n in (1, N_CORES)}
    scaling = alternate(runs, [None], settings.repeats)
    one, two = (float(np.median(times)) for times in scaling.values())
    report.figures[f"one core / two cores, {len(recordings)} recordings"] = one / two

    load = os.getloadavg()[0]
    (_, few), (seconds, many) = (
        in_new_process(_feature_run, descriptor, _repeated(dataset, n), folder / "scratch")
        for n in (settings.n_few, settings.n_many)
    )
    report.figures[f"peak memory, MiB, {settings.n_few} recordings"] = few
    report.figures[f"peak memory, MiB, {settings.n_many} recordings"] = many
    report.figures["long / short run's peak memory"] = many / few
    minutes = settings.n_many * settings.recordings.duration / 60
    report.figures[f"measured: minutes for {minutes:g} minutes of audio, two cores"] = seconds / 60
    report.figures["load before that run"] = load
    report.figures["templates"] = len(descriptor.templates)
    report.figures[f"hence minutes for RFCX's {RFCX_MINUTES}"] = seconds / 60 * RFCX_MINUTES / minutes
    return report


def bench_gbm(dataset: Dataset, folder: Path, settings: BenchSettings) -> Report:
    """All species' models on the windows whose label is known; LRAP on recordings with complete truth."""
    task = _task(dataset, folder)
    X, X_test = (task.compute(split, _statistics, "statistics") for split in ("train", "test"))
    labels = [_capped(task.labels, seed) for seed in range(settings.n_seeds)]
    ours = OneVsRestGBM(
        weak_negative_weight=0.0, linear_share=0, extra_trees=False, feature_fraction=0.2, n_jobs=N_CORES
    )
    same = {
        name: getattr(ours, name)
        for name in ("n_estimators", "learning_rate", "num_leaves", "min_child_samples", "reg_lambda")
    } | {"n_jobs": N_CORES}
    all_same = same | {"colsample_bytree": ours.feature_fraction, "max_bin": OWN_BINS}
    fits: dict[str, Callable[[int], Callable[[np.ndarray], np.ndarray]]] = {
        "understory": lambda k: clone(ours).set_params(random_state=k).fit(X, labels[k]).predict_proba,
        "sklearn OneVsRest, LightGBM": lambda k: peers.one_vs_rest(X, labels[k], same),
        "sklearn OneVsRest, LightGBM, our bins and columns": lambda k: peers.one_vs_rest(
            X, labels[k], all_same | {"random_state": k}
        ),
        "understory, with weak negatives and the linear part": lambda k: (
            OneVsRestGBM(random_state=k, n_jobs=N_CORES).fit(X, labels[k]).predict_proba
        ),
    }
    fitted: dict[str, dict[int, Callable[[np.ndarray], np.ndarray]]] = {name: {} for name in fits}

    def fit(name: str, k: int) -> None:
        fitted[name][k] = fits[name](k)

    report = Report("a fit of all species")
    report.times = alternate({name: partial(fit, name) for name in fits}, range(settings.n_seeds), 1)
    for peer in list(fits)[1:3]:
        report.ratio(peer, "understory")
    report.figures["windows x features"] = f"{X.shape[0]} x {X.shape[1]}"
    for what, value in (("positive", 1), ("negative", 0)):
        counts = (labels[0] == value).sum(axis=0)
        report.figures[f"{what} windows of a species"] = f"{counts.min()} to {counts.max()}"
    assert dataset.test_labels is not None
    truth, first = dataset.test_labels.astype(float), task.first_windows("test")
    for name, models in fitted.items():
        scores = [lrap(truth, pool(predict(X_test), first, "max")) for predict in models.values()]
        report.figures[f"LRAP, {name}"] = float(np.mean(scores))
    return report


def bench_gru(dataset: Dataset, folder: Path, settings: BenchSettings) -> Report:
    """An epoch of the classifier and, after each, the bare GRU on as many windows; one thread."""
    task = _task(dataset, folder)
    X = task.compute("train", window_sequences, "sequences")
    report = Report("an epoch")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        # One epoch more: the first also pays for what comes before it.
        model = GRUClassifier(epochs=settings.epochs + 1, device=device)
        ours, bare = f"understory, {device}", f"bare torch.nn.GRU, {device}"
        report.times |= {ours: [], bare: []}
        _time_epochs(model, X, task.labels, report.times[ours], report.times[bare])
        report.ratio(ours, bare)
    report.figures["windows an epoch"] = str(model.n_windows_)
    if "cuda" not in devices:
        report.figures["CUDA"] = "not timed: torch finds no GPU here"
    return report


def bench_scan(dataset: Dataset, folder: Path, settings: BenchSettings) -> Report:
    """A new recording's file to its scores, by the GBM and by its blend with five GRUs; memory of many."""
    task = _task(dataset, folder)
    examples = Examples(task)
    model = OneVsRestGBM(n_jobs=N_CORES).fit(*examples.whole()).set_params(n_jobs=1)
    as_it_is = PlattCalibrator.of(np.tile(IDENTITY, (dataset.n_species, 1)))
    truth = presence(dataset)
    sequences = task.compute("train", window_sequences, "sequences")
    networks = [GRUClassifier(epochs=1, random_state=k).fit(sequences, task.labels) for k in range(N_FOLDS)]
    gbm = Recogniser(
        folder=folder,
        species=dataset.species,
        settings=task.store.settings,
        window=task.window,
        members=(Member(GBMWindows(examples.descriptor, model), Readout("max", as_it_is)),),
        blend=ALONE,
        bands=median_bands(dataset),
        prior=0.5,
        calibrator=None,
        thresholds=Thresholds.fit(np.zeros(truth.shape), truth),
    )
    gru = Member(GRUWindows(tuple(networks)), Readout("max", as_it_is))
    blend = replace(gbm, members=(*gbm.members, gru), blend=Blend("logit", (0.5, 0.5)))
    report = Report("a recording of a minute")
    with threadpool_limits(1):
        report.times = alternate(
            {
                "understory, GBM": gbm.score,
                "understory, blend": blend.score,
                "floor: decode, resample, FFT": lambda path: peers.floor(path, task.store.settings),
            },
            list(dataset.test.values())[: settings.n_timed],
            settings.repeats,
        )
    for what in ("GBM", "blend"):
        report.ratio(f"understory, {what}", "floor: decode, resample, FFT")
    few, many = (
        in_new_process(_scan_run, gbm, _repeated(dataset, n))[1] for n in (settings.n_few, settings.n_many)
    )
    report.figures[f"peak memory, MiB, {settings.n_few} recordings"] = few
    report.figures[f"peak memory, MiB, {settings.n_many} recordings"] = many
    report.figures["long / short run's peak memory"] = many / few
    return report


BENCHES = {"features": bench_features, "gbm": bench_gbm, "gru": bench_gru, "scan": bench_scan}


def main(args: argparse.Namespace, settings: BenchSettings = BenchSettings()) -> None:
    folder = args.results.resolve()
    dataset = load_dataset(write_dataset(folder / "data", N_CORES, settings.recordings))
    for name in [args.what] if args.what else BENCHES:
        load = os.getloadavg()
        print(f"{name}: {BENCHES[name].__doc__}")
        BENCHES[name](dataset, folder, settings).write(folder / f"{name}.json", load)


def _task(dataset: Dataset, folder: Path) -> Task:
    task = Task(
        dataset=dataset,
        results=folder,
        store=FrameStore(folder / "frames", SpectralSettings()),
        window=WindowSettings(),
        metric="lrap",
        seed=0,
        jobs=N_CORES,
        n_folds=N_FOLDS,
    )
    task.store.compute(dataset.train, "train", N_CORES)
    task.store.compute(dataset.test, "test", N_CORES)
    return task


def _statistics(frames: Any, starts: np.ndarray, length: int) -> np.ndarray:
    return window_statistics(frames, starts, length, SpectralSettings())


def _capped(Y: np.ndarray, seed: int) -> np.ndarray:
    """Return the labels with a species' positives beyond the most forgotten."""
    Y, rng = Y.copy(), np.random.default_rng(seed)
    for y in Y.T:
        y[rng.permutation(np.flatnonzero(y == 1))[MOST_POSITIVES:]] = np.nan
    return Y


def _repeated(dataset: Dataset, n: int) -> dict[str, Path]:
    """Return `n` recordings, each file as often as it takes."""
    files = cycle([*dataset.train.values(), *dataset.test.values()])
    return {f"{k:04d}": path for k, path in enumerate(islice(files, n))}


def _store_run(recordings: dict[str, Path], folder: Path, n_jobs: int) -> Callable[[None], None]:
    def work(_: None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        FrameStore(folder, SpectralSettings()).compute(recordings, "train", n_jobs)
        shutil.rmtree(folder)

    return work


def _feature_run(descriptor: Descriptor, recordings: dict[str, Path], folder: Path) -> None:
    """Frames of many recordings to disk, then their windows' columns, each dropped again."""
    length, hop = WindowSettings().in_frames(descriptor.settings.frame_rate)
    shutil.rmtree(folder, ignore_errors=True)
    store = FrameStore(folder, descriptor.settings)
    store.compute(recordings, "train", N_CORES)

    def describe(recording_id: str) -> int:
        frames = store.load(recording_id, "train")
        return len(descriptor.describe(frames, window_starts(len(frames), length, hop), length))

    for _ in in_parallel(describe, ((r,) for r in recordings), N_CORES):
        pass
    shutil.rmtree(folder)


def _file_columns(path: Path, descriptor: Descriptor, window: WindowSettings) -> np.ndarray:
    """Return the (n_windows, n_features) columns of an audio file's windows."""
    frames = frames_of(path, descriptor.settings)
    length, hop = window.in_frames(descriptor.settings.frame_rate)
    return descriptor.describe(frames, window_starts(len(frames), length, hop), length)


def _scan_run(recogniser: Recogniser, recordings: dict[str, Path]) -> None:
    for _, scores in scan(recogniser, recordings, N_CORES):
        if isinstance(scores, AudioError):
            raise scores


def _time_epochs(
    model: GRUClassifier,
    X: np.ndarray,
    Y: np.ndarray,
    ours: list[float],
    bare: list[float],
) -> None:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the folds are fitted, side by side
    started = time.perf_counter()

    def on_epoch(_: float) -> None:
        nonlocal started
        ours.append(time.perf_counter() - started)
        x = torch.randn(model.n_windows_, *X.shape[1:], device=model.device)
        started = time.perf_counter()
        peers.bare_gru(x, model.batch_size, model.hidden_size)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()

    model.fit(X, Y, on_epoch=on_epoch)
    torch.set_num_threads(n_threads)
    del ours[0], bare[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=list(BENCHES), help="which bench; without it all four")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results" / "bench", metavar="DIR", help="where results go"
    )
    run(main, parser)
