"""Scaling of `predict` on a cluster: measured costs, a model of the time, and measured points beside it."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.common.output_folder import OutputFolder
from features.common.parallel import n_workers, on_workers
from features.data.audio import Recording, stated_size
from features.frames.store import packed_frames
from pipelines.benchmarks.timing import Report
from pipelines.core.batches import MAX_BATCH, Request, ScoreBatch, merge_parts
from pipelines.core.cluster import connected
from pipelines.core.detector import Detector
from pipelines.core.prediction_files import PredictionFiles
from pipelines.core.prediction_store import PredictionStore
from pipelines.core.predictions import Predictions

HOURS = (1_000, 100_000, 10_000_000)
CORES = (1, 50, 1_000)
PRICE = 0.04  # US dollars per core and hour, a usual price of cloud machines in 2026
STORAGE = 1e9  # bytes per second that a shared file system delivers
N_TASKS = 200  # empty calls whose overhead is measured


@dataclass(frozen=True)
class Costs:
    """Costs of scoring recordings of one length.

    Attributes
    ----------
    decode, frames, score, store : s per recording on one core of a worker, one after the other.
    task : s per batch, for scheduler, client and connection.
    merge : s per recording in the client while recordings are scored.
    tables : s per recording in the client at the end, when the tables are written.
    read, written : bytes per recording.
    """

    decode: float
    frames: float
    score: float
    store: float
    task: float
    merge: float
    tables: float
    read: float
    written: float

    @property
    def worker(self) -> float:
        """Seconds per recording on one core of a worker."""
        return self.decode + self.frames + self.score + self.store

    @property
    def client(self) -> float:
        """Seconds per recording of scheduler and client while recordings are scored."""
        return self.merge + self.task / MAX_BATCH

    def seconds(self, n: float, n_cores: int) -> float:
        """Return the time of scoring n recordings with `n_cores` for workers and one for the client, s.

        Workers, client and storage work at the same time, so the slowest decides. Then the client writes the
        tables.
        """
        scored = max(self.worker / n_cores, self.client, (self.read + self.written) / STORAGE)
        return n * (scored + self.tables)

    def seconds_here(self, n: int, n_cores: int) -> float:
        """Return the time of scoring n recordings if the client uses the cores of the workers, too, s."""
        return n * ((self.worker + self.client) / n_cores + self.tables)


class WorkerCosts(NamedTuple):
    """Seconds per recording on one core of a worker."""

    decode: float
    frames: float
    score: float
    store: float


def measure_costs(detector: Detector, files: Sequence[Path], folder: Path) -> Costs:
    """Return the costs of scoring audio files on the cluster that is in use.

    Parameters
    ----------
    files : recordings of about the same length.
    folder : scratch folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    task = measure_task()
    n, n_species = len(files), len(detector.species)
    # In all workers at the same time, because a core is slower while the others are busy.
    scores = [
        ScoreBatch(detector.folder, detector.run_id, n_species, folder / f"{k}" / "parts")
        for k in range(n_workers())
    ]
    of_workers = list(on_workers(measure_worker, ((score, files) for score in scores), n_jobs=1))
    store = PredictionStore(
        folder / "0" / "predictions.db", model=detector.run_id, n_species=len(detector.species)
    )
    requests = _requests(files)
    predictions = Predictions(detector, store, {r.recording_id: r.path for r in requests}, {}, {})
    threshold = detector.thresholds.at()
    tables = PredictionFiles(OutputFolder(folder, "bench.py"), predictions, None, threshold, "csv", False)
    state, _ = _timed(lambda: [request.state() for request in requests])
    merge, _ = _timed(partial(merge_parts, store))
    write, _ = _timed(lambda: tables.write({}))
    return Costs(
        **WorkerCosts(*np.mean(of_workers, axis=0))._asdict(),
        task=task,
        merge=(state + merge) / n,
        tables=write / n,
        read=sum(file.stat().st_size for file in files) / n,
        written=store.file.stat().st_size / n,
    )


def measure_worker(score_batch: ScoreBatch, files: Sequence[Path]) -> WorkerCosts:
    """Return the costs of scoring audio files in this worker."""
    n, detector = len(files), score_batch.detector()
    decode, _ = _timed(lambda: [sum(map(len, Recording(file).blocks())) for file in files])
    frames, packed = _timed(lambda: [list(packed_frames(file, detector.settings)) for file in files])
    score, _ = _timed(lambda: [detector.score_frames(blocks) for blocks in packed])
    whole, _ = _timed(lambda: score_batch([(request, "") for request in _requests(files)]))
    return WorkerCosts(
        decode=decode / n,
        frames=(frames - decode) / n,
        score=score / n,
        store=max(whole - frames - score, 0.0) / n,
    )


def _requests(files: Sequence[Path]) -> list[Request]:
    return [Request(f"{k:06d}", file, {}) for k, file in enumerate(files)]


def measure_task() -> float:
    """Return the seconds per call of `on_workers` if the call does nothing."""
    list(on_workers(abs, ((0,) for _ in range(10)), n_jobs=1))
    return _timed(lambda: list(on_workers(abs, ((0,) for _ in range(N_TASKS)), n_jobs=1)))[0] / N_TASKS


def seconds_of_run(detector: Detector, files: Sequence[Path], n: int, folder: Path, n_jobs: int) -> float:
    """Return the seconds that scoring n recordings and writing the tables takes, as in `predict.py`.

    Parameters
    ----------
    files : audio files, which are linked to under several names if there are fewer than n.
    folder : scratch folder.
    n_jobs : number of threads without a cluster.
    """
    shutil.rmtree(folder, ignore_errors=True)
    out, recordings = folder / "out", {}
    for path in (out, folder / "audio"):
        path.mkdir(parents=True)
    for k, file in enumerate(islice(cycle(files), n)):
        recordings[f"{k:06d}"] = folder / "audio" / f"{k:06d}{file.suffix}"
        os.link(file, recordings[f"{k:06d}"])
    started = time.perf_counter()
    store = PredictionStore(out / "predictions.db", model=detector.run_id, n_species=len(detector.species))
    predictions = Predictions(detector, store, recordings, {}, {})
    for outcome in predictions.score(predictions.missing(), n_jobs):
        if outcome.error is not None:
            raise outcome.error
    threshold = detector.thresholds.at()
    PredictionFiles(OutputFolder(out, "bench.py"), predictions, None, threshold, "csv", False).write({})
    return time.perf_counter() - started


def report_scaling(
    detector: Detector, files: Sequence[Path], *, n: Sequence[int], folder: Path, n_cores: int
) -> Report:
    """Return the report of the benchmark.

    Parameters
    ----------
    files : recordings of the same length.
    n : numbers of recordings that are scored on a cluster of this machine; the first also without.
    folder : scratch folder.
    n_cores : number of workers.
    """
    from distributed import LocalCluster

    def run(size: int) -> float:
        return seconds_of_run(detector, files, size, folder / "points", n_cores)

    report = Report("in total")
    points = {size: f"{size} recordings on {n_cores} workers" for size in n}
    alone = f"{n[0]} recordings with {n_cores} threads"
    with (
        LocalCluster(n_workers=n_cores, threads_per_worker=1, dashboard_address=":0") as cluster,
        connected(cluster.scheduler_address, _stop),
    ):
        run(8 * n_cores)  # the workers import
        costs = measure_costs(detector, files, folder / "costs")
        report.times = {point: [run(size)] for size, point in points.items()}
    report.times[alone] = [run(n[0])]
    shutil.rmtree(folder)
    report.ratio(points[n[0]], alone, "at most 1.25")
    for size, point in points.items():
        model = costs.seconds_here(size, n_cores)
        report.add(f"model / {point}", model / report.median(point), "0.8 to 1.2")
    _add_model(report, costs, per_hour=3600 / stated_size(files[0])[1])
    return report


def _add_model(report: Report, costs: Costs, per_hour: float) -> None:
    """Add the costs per hour of audio, and what follows from them, to a report."""
    for name in ("decode", "frames", "score", "store", "merge", "tables"):
        report.add(f"{name}, s per hour of audio", per_hour * getattr(costs, name))
    for name in ("read", "written"):
        report.add(f"{name}, MB per hour of audio", per_hour * getattr(costs, name) / 1e6)
    report.add("task, ms per batch", 1e3 * costs.task)
    report.add("cores that scheduler and client keep busy", costs.worker / costs.client)
    report.add(
        f"cores that {STORAGE / 1e9:g} GB/s keep busy",
        costs.worker / ((costs.read + costs.written) / STORAGE),
    )
    report.add("recordings per batch, so that tasks are a tenth of the client", 9 * costs.task / costs.merge)
    for hours in HOURS:
        for cores in CORES:
            needed = costs.seconds(hours * per_hour, cores) / 3600
            price = needed * (cores + 1) * PRICE
            report.add(f"{hours:,} hours on {cores:,} cores", f"{needed:,.3g} h, {price:,.3g} US dollars")


def _stop(message: str) -> None:
    raise SystemExit(message)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that `work` takes, and what it returns."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
