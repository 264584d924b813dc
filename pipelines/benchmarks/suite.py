"""The benchmarks: features, trees, fit, epoch, scan, runs and scale."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from features.columns.sequences import window_sequences
from features.columns.statistics import Statistics
from features.columns.window_features import WindowFeatures
from features.common.output_folder import OutputFolder
from features.common.parallel import in_parallel
from features.data.audio import Clip, file_of
from features.data.dataset import Dataset
from features.data.synthetic import SyntheticSettings
from features.frames.spectral import SpectralSettings
from features.frames.store import FrameStore, frames_of
from features.frames.windows import WindowSettings, window_starts
from models.estimators.cnn import CNNClassifier
from models.estimators.gru import GRUClassifier
from models.estimators.mlp import MLPClassifier
from models.estimators.network import NetworkClassifier
from models.estimators.one_vs_rest_gbm import OWN_BINS, OneVsRestGBM
from models.folds import make_folds
from models.logistic import IDENTITY
from models.metrics import lrap
from models.scoring.aggregation import Aggregation
from models.scoring.blending import Blend
from models.scoring.calibration import PlattCalibrator
from models.scoring.pooling import pool
from models.scoring.prevalence import estimate_prevalence
from models.scoring.thresholds import Thresholds
from models.tuning import cross_validate
from pipelines.benchmarks import reference_implementations as reference
from pipelines.benchmarks.scaling import report_scaling
from pipelines.benchmarks.timing import Report, alternate, in_new_process
from pipelines.core.cli import ROOT
from pipelines.core.detector import ALONE, Detector, TrainedMember
from pipelines.core.member import WindowScorer
from pipelines.core.prediction_files import PredictionFiles
from pipelines.core.prediction_store import PredictionStore
from pipelines.core.predictions import Predictions
from pipelines.core.runs import has_run, median_bands
from pipelines.core.task import Task
from pipelines.core.training_windows import TrainingWindows
from pipelines.core.truth import training_truth
from pipelines.members.cnn import CNNScorer
from pipelines.members.gbm import GBM, GBMScorer, default_parameters, make_model
from pipelines.members.gru import GRUScorer
from pipelines.members.mlp import N_NETWORKS, MLPScorer

RFCX_MINUTES = 6_719  # 4,727 training and 1,992 test recordings of one minute
N_CORES = 2
N_FOLDS = 5
RECORDINGS = SyntheticSettings(
    n_train=76, n_test=100, duration=60.0, sr=48_000, calls_per_species=5, n_confusers=16
)
MAX_POSITIVES = 100  # windows per species, as in RFCX
FLOOR = "floor: decode, resample, FFT"
OURS = "understory"


@dataclass(frozen=True)
class BenchmarkSettings:
    """Size of the benchmarks. The defaults give about as many training windows and labels as in RFCX."""

    recordings: SyntheticSettings = RECORDINGS
    n_timed: int = 8
    """Number of recordings on which every implementation is timed."""
    repeats: int = 3
    n_scaling: int = 60
    """Number of recordings in the comparison of one core with two."""
    n_few: int = 40
    n_many: int = 400
    """Numbers of recordings of a short and a long run, whose peak memory is compared."""
    n_seeds: int = 8
    """Number of fits of the trees, each with a different seed and different positives."""
    epochs: int = 5
    excerpt: float = 10.0
    """Duration of the recordings that are scored on a cluster, s."""
    n_scaled: tuple[int, ...] = (2_000, 10_000)
    """Numbers of recordings that are scored on a cluster."""


DEFAULT = BenchmarkSettings()


def bench_features(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Time computing the columns of a file, and the frames of many on one and two cores; measure memory."""
    spectral, window = SpectralSettings(), WindowSettings()
    features = TrainingWindows(_task(dataset, folder)).features
    stft = {"n_fft": spectral.n_fft, "hop_length": spectral.hop_length}
    implementations: dict[str, Callable[[Path], Any]] = {
        OURS: lambda path: _file_columns(path, features, window),
        FLOOR: lambda path: reference.floor(path, spectral),
        "librosa per window": reference.librosa_per_window,
        "librosa per window, our frames": lambda path: reference.librosa_per_window(
            path, spectral.sr, **stft
        ),
        "librosa, one STFT": reference.librosa_shared_stft,
        "librosa, one STFT, our frames and windows": lambda path: reference.librosa_shared_stft(
            path, spectral.sr, **stft, window=window
        ),
    }
    report = Report("per recording of one minute")
    opensmile = reference.opensmile_descriptors()
    if opensmile is None:
        report.figures["openSMILE ComParE_2016 LLD"] = "not installed: pip install -e '.[bench]'"
    else:
        implementations["openSMILE ComParE_2016 LLD"] = opensmile
        report.figures["openSMILE version"] = version("opensmile")
    with threadpool_limits(1):
        report.times = alternate(
            implementations, list(map(file_of, dataset.train.values()))[: settings.n_timed], settings.repeats
        )
    for name in implementations:
        if name not in (OURS, FLOOR):
            report.ratio(name, OURS, "at least 10" if name == "librosa per window" else None)
    report.ratio(OURS, FLOOR, "at most 1.40")

    recordings = _repeated(dataset, settings.n_scaling)
    runs = {f"{n} core(s)": _store_run(recordings, folder / "scratch", n) for n in (1, N_CORES)}
    scaling = alternate(runs, [None], settings.repeats)
    one, two = (float(np.median(times)) for times in scaling.values())
    report.add(f"one core / two cores, {len(recordings)} recordings", one / two, "at least 1.85")

    load = os.getloadavg()[0]
    (_, few), (seconds, many) = (
        in_new_process(_feature_run, features, _repeated(dataset, n), folder / "scratch")
        for n in (settings.n_few, settings.n_many)
    )
    _report_memory(report, settings, few=few, many=many)
    minutes = settings.n_many * settings.recordings.duration / 60
    report.figures[f"minutes for {minutes:g} minutes of audio, two cores, measured"] = seconds / 60
    report.figures["load average before the long run"] = load
    report.figures["templates"] = features.blocks["templates"].n_measures
    report.figures[f"minutes for {RFCX_MINUTES} minutes of audio, as in RFCX, extrapolated"] = (
        seconds / 60 * RFCX_MINUTES / minutes
    )
    return report


def bench_trees(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Time the fit of the trees of all species on labelled windows; compute LRAP on the test recordings."""
    task = _task(dataset, folder)
    statistics = Statistics(task.store.settings)
    X, X_test = (task.compute(split, statistics.measure, "statistics") for split in ("train", "test"))
    labels = [_capped(task.labels, seed) for seed in range(settings.n_seeds)]
    ours = OneVsRestGBM(weak_negative_weight=0.0, extra_trees=False, feature_fraction=0.2, n_jobs=N_CORES)
    same = {
        name: getattr(ours, name)
        for name in ("n_estimators", "learning_rate", "num_leaves", "min_child_samples", "reg_lambda")
    } | {"n_jobs": N_CORES}
    all_same = same | {"colsample_bytree": ours.feature_fraction, "max_bin": OWN_BINS}
    fits: dict[str, Callable[[int], Callable[[np.ndarray], np.ndarray]]] = {
        OURS: lambda k: clone(ours).set_params(random_state=k).fit(X, labels[k]).predict_proba,
        "sklearn OneVsRest, LightGBM": lambda k: reference.one_vs_rest(X, labels[k], same),
        "sklearn OneVsRest, LightGBM, our bins and columns": lambda k: reference.one_vs_rest(
            X, labels[k], all_same | {"random_state": k}
        ),
    }
    fitted: dict[str, dict[int, Callable[[np.ndarray], np.ndarray]]] = {name: {} for name in fits}

    def fit(name: str, k: int) -> None:
        fitted[name][k] = fits[name](k)

    report = Report("per fit of all species")
    report.times = alternate({name: partial(fit, name) for name in fits}, range(settings.n_seeds), 1)
    for name in fits:
        if name.startswith("sklearn"):
            report.ratio(name, OURS)
    report.figures["windows x columns"] = f"{X.shape[0]} x {X.shape[1]}"
    for what, value in (("positive", 1), ("negative", 0)):
        counts = (labels[0] == value).sum(axis=0)
        report.figures[f"{what} windows per species"] = f"{counts.min()} to {counts.max()}"
    assert dataset.test_labels is not None
    truth, first = dataset.test_labels.astype(float), task.first_windows("test")
    for name, models in fitted.items():
        scores = [lrap(truth, pool(predict(X_test), first, "max")) for predict in models.values()]
        report.figures[f"LRAP, {name}"] = float(np.mean(scores))
    return report


def bench_fit(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Time the fit of the GBM as `gbm.py` makes it, with weak negatives, overlays and the linear part."""
    task = _task(dataset, folder)
    windows = TrainingWindows(task)
    X, Y = windows.whole()
    X_test = task.compute("test", windows.features.transform, "columns")
    peers = reference.classical_peers(0, N_CORES)
    models: dict[str, list[Any]] = {
        OURS: [make_model(default_parameters(), seed=0, n_jobs=N_CORES)],
        "scikit-learn: LGBMClassifier per species, and Ridge": [peers["default LightGBM"], peers["ridge"]],
    }
    assert dataset.test_labels is not None
    truth, first = dataset.test_labels.astype(float), task.first_windows("test")
    report = Report("per fit of all species")
    for name, parts in models.items():
        started = time.perf_counter()
        for model in parts:
            model.fit(X, Y)
        report.times[name] = [time.perf_counter() - started]
        scores = np.mean([pool(model.predict_proba(X_test), first, "max") for model in parts], axis=0)
        report.figures[f"LRAP, {name}"] = lrap(truth, scores)
        if name != OURS:
            report.ratio(name, OURS, "at least 8")
    report.figures["windows x columns"] = f"{X.shape[0]} x {X.shape[1]}"
    folds = [windows.fold(k) for k in range(task.n_folds)]
    _, report.figures["seconds per trial"] = cross_validate(models[OURS][0], folds)
    return report


def bench_epoch(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Time each epoch of the GRU and, right after it, torch.nn.GRU alone on as many windows; one thread."""
    task = _task(dataset, folder)
    X = task.compute("train", window_sequences, "sequences")
    report = Report("per epoch")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        # One additional epoch, because the first one includes the preparation and is left out.
        network = GRUClassifier(epochs=settings.epochs + 1, device=device)
        ours, bare = f"understory, {device}", f"bare torch.nn.GRU, {device}"
        report.times |= {ours: [], bare: []}
        _time_epochs(network, X, task.labels, ours=report.times[ours], bare=report.times[bare])
        report.ratio(ours, bare)
    report.figures["windows per epoch"] = str(network.n_windows_)
    if "cuda" not in devices:
        report.figures["CUDA"] = "not timed: torch finds no GPU"
    return report


def bench_scan(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Time the scoring of a new file with the GBM and with blends; measure memory."""
    task = _task(dataset, folder)
    windows = TrainingWindows(task)
    examples = windows.whole()
    model = make_model(default_parameters(), seed=0, n_jobs=N_CORES).fit(*examples)
    model.set_params(trees__n_jobs=1)
    sequences = task.compute("train", window_sequences, "sequences"), task.labels
    gbm = GBMScorer(windows.features, model)
    mlp = MLPScorer(windows.features, _quick(MLPClassifier, N_NETWORKS, *examples))
    gru = GRUScorer(_quick(GRUClassifier, N_FOLDS, *sequences))
    cnn = CNNScorer(_quick(CNNClassifier, N_FOLDS, *sequences))
    blends: dict[str, list[WindowScorer]] = {
        "GBM": [gbm],
        "GBM and GRU": [gbm, gru],
        "GBM, MLP and GRU": [gbm, mlp, gru],
        "GBM, MLP, GRU and CNN": [gbm, mlp, gru, cnn],
    }
    bars = dict(zip(blends, ("at most 1.55", "at most 2.2", None, "at most 3.0"), strict=True))
    detectors = {f"{OURS}, {names}": _detector(task, scorers) for names, scorers in blends.items()}
    report = Report("per recording of one minute")
    with threadpool_limits(1):
        report.times = alternate(
            {name: detector.score for name, detector in detectors.items()}
            | {FLOOR: lambda path: reference.floor(path, task.store.settings)},
            list(dataset.test.values())[: settings.n_timed],
            settings.repeats,
        )
    for name, bar in bars.items():
        report.ratio(f"{OURS}, {name}", FLOOR, bar)
    alone = next(iter(detectors.values()))
    few, many = (
        in_new_process(_scan_run, alone, _repeated(dataset, n))[1] for n in (settings.n_few, settings.n_many)
    )
    _report_memory(report, settings, few=few, many=many)
    return report


def bench_runs(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Time whole commands: training, blending and prediction; training and prediction also on one core."""
    results, predicted = folder / "runs", folder / "scratch"
    minutes = {
        "test": len(dataset.test) * settings.recordings.duration / 60,
        "all": (len(dataset.train) + len(dataset.test)) * settings.recordings.duration / 60,
    }
    report = Report("per command")

    def run(name: str, command: str, of: str, *flags: str | Path) -> None:
        started = time.perf_counter()
        subprocess.run([sys.executable, ROOT / "pipelines" / command, *flags], check=True)
        report.times[name] = [time.perf_counter() - started]
        report.figures[f"seconds per minute of audio, {name}"] = report.median(name) / minutes[of]

    data = ("--data", folder / "data", "--results", results)
    for n_cores in (1, N_CORES):
        shutil.rmtree(results, ignore_errors=True)
        run(
            f"gbm.py --trials 1, {n_cores} core(s)",
            *("gbm.py", "all", *data, "--trials", "1", "--jobs", str(n_cores)),
        )
    run("gru.py", "gru.py", "all", *data)
    run("blend.py", "blend.py", "all", *data)
    for n_cores in (1, N_CORES):
        shutil.rmtree(predicted, ignore_errors=True)
        run(
            f"predict.py with gbm, {n_cores} core(s)",
            *("predict.py", "test", folder / "data" / "test", "--model", results / GBM.name),
            *("--out", predicted, "--jobs", str(n_cores)),
        )
    shutil.rmtree(predicted, ignore_errors=True)
    for name in ("gbm.py --trials 1", "predict.py with gbm"):
        report.ratio(f"{name}, 1 core(s)", f"{name}, {N_CORES} core(s)", "at least 1.85")
    return report


def bench_scale(dataset: Dataset, folder: Path, settings: BenchmarkSettings) -> Report:
    """Model the scoring of many recordings on a Dask cluster; compare with a cluster on this machine."""
    results, scratch = folder / "runs", folder / "scratch"
    flags = ("--data", folder / "data", "--results", results, "--trials", "0")
    if not has_run(results / GBM.name):
        subprocess.run([sys.executable, ROOT / "pipelines" / "gbm.py", *flags], check=True)
    files = _excerpts([*dataset.test.values()], settings.excerpt, scratch)
    report = report_scaling(
        Detector.load(results / GBM.name),
        files,
        n=settings.n_scaled,
        folder=scratch / "scaling",
        n_cores=N_CORES,
    )
    shutil.rmtree(scratch)
    return report


BENCHMARKS = {
    "features": bench_features,
    "trees": bench_trees,
    "fit": bench_fit,
    "epoch": bench_epoch,
    "scan": bench_scan,
    "runs": bench_runs,
    "scale": bench_scale,
}


def _excerpts(recordings: Sequence[Path | Clip], seconds: float, folder: Path) -> list[Path]:
    """Write the beginning of recordings, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k, audio in enumerate(recordings):
        source = file_of(audio)
        y, sr = soundfile.read(source, stop=round(seconds * soundfile.info(source).samplerate), dtype="int16")
        files.append(folder / f"{k:03d}.flac")
        soundfile.write(files[-1], y, sr)
    return files


def _report_memory(report: Report, settings: BenchmarkSettings, *, few: float, many: float) -> None:
    report.figures[f"peak memory, MiB, {settings.n_few} recordings"] = few
    report.figures[f"peak memory, MiB, {settings.n_many} recordings"] = many
    report.add("peak memory, long / short run", many / few, "at most 1.05")


def _task(dataset: Dataset, folder: Path) -> Task:
    task = Task(
        dataset=dataset,
        results=folder,
        store=FrameStore(folder / "frames", SpectralSettings()),
        window=WindowSettings(),
        metric="lrap",
        seed=0,
        jobs=N_CORES,
        fold=make_folds(training_truth(dataset), dataset.groups, N_FOLDS, seed=0),
        holdout=np.ones(len(dataset.train), bool),
    )
    task.store.compute(dataset.train, "train", N_CORES)
    task.store.compute(dataset.test, "test", N_CORES)
    return task


def _quick(
    classifier: type[NetworkClassifier], n: int, X: np.ndarray, Y: np.ndarray
) -> tuple[NetworkClassifier, ...]:
    """Return `n` networks that are hardly fitted; their weights do not affect the time of scoring."""
    known = np.flatnonzero(~np.isnan(Y).all(axis=1))[:64]
    return tuple(classifier(epochs=1, random_state=k).fit(X[known], Y[known]) for k in range(n))


def _detector(task: Task, scorers: Sequence[WindowScorer]) -> Detector:
    """Return a detector that blends scorers with equal weights, without calibration."""
    dataset, truth = task.dataset, training_truth(task.dataset)
    uncalibrated = PlattCalibrator.of(np.tile(IDENTITY, (dataset.n_species, 1)))
    aggregation = Aggregation("max", uncalibrated)
    return Detector(
        folder=task.results,
        run_id="",
        species=dataset.species,
        settings=task.store.settings,
        window=task.window,
        longest=task.longest,
        sample_rate=task.sample_rate,
        members=tuple(TrainedMember(type(scorer).__name__, scorer, aggregation) for scorer in scorers),
        blend=Blend("logit", (1 / len(scorers),) * len(scorers)) if len(scorers) > 1 else ALONE,
        bands=median_bands(dataset),
        prior=0.5,
        calibrator=None,
        thresholds=Thresholds.fit(np.zeros(truth.shape), truth),
    )


def _capped(Y: np.ndarray, seed: int) -> np.ndarray:
    """Return labels with at most `MAX_POSITIVES` positives per species; the others become unknown."""
    Y, rng = Y.copy(), np.random.default_rng(seed)
    for y in Y.T:
        y[rng.permutation(np.flatnonzero(y == 1))[MAX_POSITIVES:]] = np.nan
    return Y


def _repeated(dataset: Dataset, n: int) -> dict[str, Path]:
    """Return `n` recordings, with files repeated as often as necessary."""
    files = cycle([*map(file_of, dataset.train.values()), *dataset.test.values()])
    return {f"{k:04d}": path for k, path in enumerate(islice(files, n))}


def _store_run(recordings: dict[str, Path], folder: Path, n_jobs: int) -> Callable[[None], None]:
    def work(_: None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        FrameStore(folder, SpectralSettings()).compute(recordings, "train", n_jobs)
        shutil.rmtree(folder)

    return work


def _feature_run(features: WindowFeatures, recordings: dict[str, Path], folder: Path) -> None:
    """Store the frames of many recordings, then compute the columns of their windows, and delete both."""
    length, hop = WindowSettings().in_frames(features.settings.frame_rate)
    shutil.rmtree(folder, ignore_errors=True)
    store = FrameStore(folder, features.settings)
    store.compute(recordings, "train", N_CORES)

    def transform(recording_id: str) -> int:
        frames = store.load(recording_id, "train")
        return len(features.transform(frames, window_starts(len(frames), length, hop), length))

    for _ in in_parallel(transform, ((r,) for r in recordings), N_CORES):
        pass
    shutil.rmtree(folder)


def _file_columns(path: Path, features: WindowFeatures, window: WindowSettings) -> np.ndarray:
    """Return the columns of the windows of an audio file, shape (n_windows, n_columns)."""
    frames = frames_of(path, features.settings)
    length, hop = window.in_frames(features.settings.frame_rate)
    return features.transform(frames, window_starts(len(frames), length, hop), length)


def _scan_run(detector: Detector, recordings: dict[str, Path]) -> None:
    with TemporaryDirectory() as folder:
        store = PredictionStore(Path(folder) / "predictions.db", model="", n_species=len(detector.species))
        predictions = Predictions(detector, store, recordings, {}, {})
        for outcome in predictions.score(predictions.missing(), N_CORES):
            if outcome.error is not None:
                raise outcome.error
        threshold = detector.thresholds.at()
        output = OutputFolder(Path(folder), "bench.py")
        PredictionFiles(output, predictions, estimate_prevalence, threshold, "csv", False).write({})


def _time_epochs(
    network: GRUClassifier, X: np.ndarray, Y: np.ndarray, *, ours: list[float], bare: list[float]
) -> None:
    """Append the seconds of each epoch to `ours`, and those of the bare GRU to `bare`."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in training, where folds run in parallel
    started = time.perf_counter()

    def on_epoch(_: float) -> None:
        nonlocal started
        ours.append(time.perf_counter() - started)
        x = torch.randn(network.n_windows_, *X.shape[1:], device=network.device)
        started = time.perf_counter()
        reference.bare_gru(x, network.batch_size, network.hidden_size)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()

    network.fit(X, Y, on_epoch=on_epoch)
    torch.set_num_threads(n_threads)
    del ours[0], bare[0]
