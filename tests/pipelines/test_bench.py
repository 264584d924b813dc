"""The bench in small: what it times is what it says, and its figures follow from its times."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score

from features.data.synthetic import SyntheticSettings
from features.frames.spectral import SpectralSettings
from pipelines import bench
from pipelines.benchmarks import reference_implementations as peers
from pipelines.benchmarks import timing
from tests.conftest import tone

SMALL = bench.BenchSettings(
    recordings=SyntheticSettings(
        n_train=12, n_test=4, duration=9.0, sr=48_000, n_train_sites=6, n_test_sites=2, n_confusers=12
    ),
    n_timed=1,
    repeats=1,
    n_scaling=4,
    n_few=2,
    n_many=6,
    n_seeds=1,
    epochs=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("what", bench.BENCHES)
def test_every_bench_runs_and_its_ratios_are_of_its_medians(what: str, folder: Path) -> None:
    bench.main(Namespace(what=what, results=folder), SMALL)
    report = json.loads((folder / f"{what}.json").read_text())
    assert report["median"] == {name: np.median(times) for name, times in report["times"].items()}
    assert min(report["median"].values()) > 0
    assert {"cores", "versions", "load_before"} <= set(report)
    ratios = [name.split(" / ") for name in report["figures"] if " / " in name]
    of_contestants = [(a, b) for a, b in ratios if a in report["median"]]
    assert of_contestants
    for a, b in of_contestants:
        assert report["figures"][f"{a} / {b}"] == report["median"][a] / report["median"][b]
    assert not (folder / "scratch").exists()


def test_contestants_take_turns_after_one_call_unmeasured() -> None:
    calls: list[tuple[str, int]] = []
    contestants = {name: lambda item, name=name: calls.append((name, item)) for name in "ab"}
    times = timing.alternate(contestants, [1, 2], repeats=2)
    one_round = [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert calls == [("a", 1), ("b", 1), *one_round, *one_round]
    assert {name: len(t) for name, t in times.items()} == {"a": 4, "b": 4}


def allocate(n: int) -> None:
    assert np.ones(n, np.uint8).all()


def test_the_peak_memory_is_the_works_own() -> None:
    _, small = timing.in_new_process(allocate, 1)
    ballast = np.ones(300 * 2**20, np.uint8)  # this process's memory is not that of the next
    _, large = timing.in_new_process(allocate, 200 * 2**20)
    assert ballast.all()
    assert 190 < large - small < 290


def test_peers_describe_the_windows_that_they_say(tmp_path: Path) -> None:
    file = tmp_path / "x.flac"
    soundfile.write(file, tone(3000, 9.0, 48_000), 48_000)
    settings = SpectralSettings()
    n_bins = 1 + settings.n_fft // 2
    n_statistics = 5
    per_window = peers.librosa_per_window(file, settings.sr, settings.n_fft, settings.hop_length)
    assert per_window.shape == (3, n_statistics * (20 + 7 + n_bins))  # at 0, 2 and 4 s
    mean_magnitude = per_window[:, n_statistics * 27 :][:, :n_bins]
    assert (mean_magnitude.argmax(axis=1) == round(3000 / settings.sr * settings.n_fft)).all()
    shared = peers.librosa_shared_stft(file)
    assert shared.shape == (3, n_statistics * (20 + 7 + 128))


def test_the_sklearn_way_learns_from_known_rows_only() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(float)
    hidden = rng.random(Y.shape) < 0.5
    P = peers.one_vs_rest(X, np.where(hidden, np.nan, Y), {"n_estimators": 20, "n_jobs": 1})(X)
    assert ((P > 0.5) == Y).mean() > 0.9
    moved = np.where(hidden, np.nan, Y)
    moved[hidden[:, 0], 1] = np.nan  # another species' gaps are no matter of the first's
    again = peers.one_vs_rest(X, moved, {"n_estimators": 20, "n_jobs": 1})(X)
    np.testing.assert_array_equal(P[:, 0], again[:, 0])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_peer_learns_weakly_from_what_is_unknown(at_once: bool) -> None:
    rng = np.random.default_rng(0)
    X, X_new = rng.normal(size=(2, 800, 5))
    truth, truth_new = (x[:, :2] > 1 for x in (X, X_new))
    Y = np.where(rng.random(truth.shape) < 0.3, truth, np.nan)
    Y[:, 1] = np.where(Y[:, 1] == 1, np.nan, Y[:, 1])  # never shown
    forest = ExtraTreesClassifier(50, min_samples_leaf=20, random_state=0)
    P = peers.Peer(forest, at_once).fit(X, Y).predict_proba(X_new)
    assert P.shape == Y.shape
    assert (P[:, 1] == 0).all()
    assert roc_auc_score(truth_new[:, 0], P[:, 0]) > 0.9
    unknown = peers.Peer(forest, at_once, weak_negative_weight=1.0).fit(X, Y).predict_proba(X_new)
    assert unknown[:, 0].mean() < P[:, 0].mean()


def test_every_classical_peer_gives_probabilities() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 8)).astype(np.float16)
    Y = (X[:, :3] > 0.5).astype(np.float32)
    for name, peer in peers.classical_peers(0, 1).items():
        P = peer.fit(X, Y).predict_proba(X)
        assert P.shape == Y.shape, name
        assert P.min() >= 0, name
        assert P.max() <= 1, name
        assert roc_auc_score(Y[:, 0], P[:, 0]) > 0.9, name
