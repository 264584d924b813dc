"""Measure changes that were considered for the models, the pooling and the blend, on a data set with runs.

Each row of `results/<data set>/candidates.csv` is a change: its LRAP out of fold and on the test
recordings, and the paired difference from what it would replace. Run `gbm.py --trials 1`, `mlp.py`,
`gru.py`, `cnn.py` and `blend.py` first.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, Self

import lightgbm
import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans

from features.columns.sequences import window_sequences
from models.estimators.cnn import CNNClassifier
from models.estimators.gru import GRUClassifier
from models.estimators.labels import label_weights
from models.estimators.log_odds_mean import LogOddsMean
from models.estimators.ridge_discriminant import RidgeDiscriminant
from models.folds import Fold, out_of_fold, split
from models.logistic import logit
from models.metrics import METRICS, ap_per_species, bootstrap_interval, lrap, lrap_per_recording
from models.scoring.aggregation import best_aggregation
from models.scoring.calibration import calibrate
from models.scoring.pooling import POOLINGS, pool
from pipelines.benchmarks.reference_implementations import classical_peers
from pipelines.core.cli import run, training_parser
from pipelines.core.task import Task, load_task
from pipelines.core.training_windows import TrainingWindows
from pipelines.members.gbm import default_parameters, make_model
from pipelines.members.networks import seeded


class Scores(NamedTuple):
    """Scores of the training windows or recordings, out of fold, and of those of the test recordings."""

    oof: np.ndarray
    test: np.ndarray


class Candidates:
    """The task, the training examples of the GBM and its scores."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.first = {name: task.first_windows(name) for name in ("train", "test")}
        self.truth_test = task.dataset.test_labels.astype(float)
        self.windows = TrainingWindows(task)
        self.folds = [self.windows.fold(k) for k in range(task.n_folds)]
        self.whole = self.windows.whole()
        self.X_test = task.compute("test", self.windows.features.transform, "columns")
        self.model = make_model(default_parameters(), seed=task.seed, n_jobs=task.jobs)

    @cached_property
    def gbm(self) -> Scores:
        """Window scores of the GBM with default parameters."""
        return self.fit(self.model)

    def fit(
        self,
        model: BaseEstimator,
        folds: Sequence[Fold] | None = None,
        whole: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Scores:
        """Return the window scores of a model."""
        *_, P = out_of_fold(model, folds or self.folds)
        return Scores(P, clone(model).fit(*(whole or self.whole)).predict_proba(self.X_test))

    def aggregate(self, P: Scores) -> Scores:
        aggregation, oof, _ = best_aggregation(
            P.oof, self.first["train"], self.task.truth, fold=self.task.fold, metric=METRICS[self.task.metric]
        )
        return Scores(oof, aggregation(P.test, self.first["test"]))

    def member(self, name: str) -> Scores:
        """Return the recording scores of a run."""
        parts = [np.load(self.task.results / name / f"{s}.npz")["scores"] for s in ("oof", "test")]
        return Scores(*parts)

    def report(self, name: str, new: Scores, old: Scores, since: float | None = None) -> None:
        row: dict[str, object] = {"candidate": name}
        if since is not None:
            row["minutes"] = round((time.perf_counter() - since) / 60, 1)
        for part, Y in (("oof", self.task.truth), ("test", self.truth_test)):
            a, b = getattr(new, part), getattr(old, part)
            difference = lrap_per_recording(Y, a) - lrap_per_recording(Y, b)
            low, high = bootstrap_interval(difference, self.task.seed)
            row |= {
                part: lrap(Y, a),
                f"{part}_gain": np.nanmean(difference),
                f"{part}_low": low,
                f"{part}_high": high,
            }
        print(
            ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()),
            flush=True,
        )
        file = self.task.results / "candidates.csv"
        rows = pd.read_csv(file) if file.exists() else pd.DataFrame({"candidate": []})
        rows = pd.concat([rows[rows["candidate"] != name], pd.DataFrame([row])])
        rows.to_csv(file, index=False, float_format="%.4f")


# ---- the two parts of the GBM


def trees(c: Candidates) -> None:
    """Deeper trees, a lower rate, bagging, and trees for all species together."""
    base, p = c.aggregate(c.gbm), default_parameters()
    t = time.perf_counter()
    bag = [c.fit(make_model(p, seed=c.task.seed + k, n_jobs=c.task.jobs)) for k in (1, 2)]
    mean = Scores(
        *(expit(np.mean([logit(P) for P in part], axis=0)) for part in zip(c.gbm, *bag, strict=True))
    )
    c.report("gbm: mean of three seeds", c.aggregate(mean), base, t)
    t = time.perf_counter()
    forest = classical_peers(c.task.seed, c.task.jobs)["ExtraTrees(500)"]
    joint = LogOddsMean([("trees", forest), ("linear", c.model.estimators[1][1])])
    c.report("gbm: ExtraTrees(500) of all species instead of LightGBM", c.aggregate(c.fit(joint)), base, t)
    slow = {"learning_rate": p["learning_rate"] / 2, "n_estimators": 2 * p["n_estimators"]}
    for name, change in {
        "gbm: half the learning rate, twice as many trees": slow,
        "gbm: the same, 31 leaves": slow | {"num_leaves": 31},
    }.items():
        t = time.perf_counter()
        model = make_model(p | change, seed=c.task.seed, n_jobs=c.task.jobs)
        c.report(name, c.aggregate(c.fit(model)), base, t)


class GroupedRidge(BaseEstimator):
    """A ridge discriminant for each group of species.

    The weight of a window is 1 if a label of the group is known, so the negatives of a species are windows
    with calls of similar species.
    """

    def __init__(self, groups: np.ndarray, alpha: float = 300.0) -> None:
        self.groups = groups
        self.alpha = alpha

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Self:
        self.models_ = {
            g: RidgeDiscriminant(self.alpha).fit(X, Y[:, self.groups == g]) for g in np.unique(self.groups)
        }
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        P = np.zeros((len(X), len(self.groups)))
        for g, model in self.models_.items():
            P[:, self.groups == g] = model.predict_proba(X)
        return P


def linear(c: Candidates) -> None:
    """The linear part fitted for groups of species that call in similar bands."""
    part = c.model.estimators[1][1]
    base = c.aggregate(c.fit(part))
    bands = c.task.dataset.tp.groupby("species_id")[["f_min", "f_max"]].median().to_numpy()
    for n in (2, 4, len(bands)):
        groups = KMeans(n, random_state=0).fit_predict(bands) if n < len(bands) else np.arange(n)
        c.report(
            f"linear part alone: {n} groups of species by band",
            c.aggregate(c.fit(GroupedRidge(groups))),
            base,
        )


def masked(c: Candidates) -> None:
    """Copies of windows with a call whose columns of a random band have the value of their median."""
    base, t = c.aggregate(c.gbm), time.perf_counter()
    extents, rng = c.windows.features.extents(), np.random.default_rng(c.task.seed)

    def more(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero((Y == 1).any(axis=1))
        copies, median = X[rows].copy(), np.median(X, axis=0)
        for x in copies:
            low = rng.uniform(0, 14_000)
            inside = (
                (extents[:, 0] < low + 1500) & (extents[:, 1] > low) & (extents[:, 1] - extents[:, 0] < 6000)
            )
            x[inside] = median[inside]
        return np.concatenate([X, copies]), np.concatenate([Y, Y[rows]])

    folds = [Fold(*more(f.X, f.Y), f.held, f.X_held) for f in c.folds]
    c.report("gbm: copies with a masked band", c.aggregate(c.fit(c.model, folds, more(*c.whole))), base, t)


def context(c: Candidates) -> None:
    """A second stage on the out-of-fold scores of the window, its neighbours, and its recording."""
    base, t = c.aggregate(c.gbm), time.perf_counter()

    def columns(P: np.ndarray, first: np.ndarray) -> np.ndarray:
        Z, n = logit(P), np.diff(np.append(first, len(P)))
        start = np.zeros(len(Z), bool)
        start[first] = True
        end = np.roll(start, -1)
        before, after = np.roll(Z, 1, axis=0), np.roll(Z, -1, axis=0)
        before[start], after[end] = Z[start], Z[end]
        highest, mean = (np.repeat(pool(Z, first, how), n, axis=0) for how in ("max", "mean"))
        order = np.sort(Z, axis=1)
        rival = np.where(order[:, -1:] == Z, order[:, -2:-1], order[:, -1:])
        level = np.broadcast_to(Z.mean(axis=1, keepdims=True), Z.shape)
        return np.stack([Z, before, after, highest, mean, Z - rival, level], axis=2)

    C, C_test = columns(c.gbm.oof, c.first["train"]), columns(c.gbm.test, c.first["test"])
    Y, fold = c.task.labels, c.task.per_window(c.task.fold)
    weight = label_weights(Y, 0.1)

    def fit(rows: np.ndarray) -> lightgbm.LGBMClassifier:
        model = lightgbm.LGBMClassifier(
            n_estimators=150,
            learning_rate=0.05,
            min_child_samples=50,
            random_state=c.task.seed,
            n_jobs=c.task.jobs,
            verbosity=-1,
        )
        return model.fit(
            C[rows].reshape(-1, C.shape[2]), (Y[rows] == 1).ravel(), sample_weight=weight[rows].ravel()
        )

    def predict(model: lightgbm.LGBMClassifier, C: np.ndarray) -> np.ndarray:
        return model.predict_proba(C.reshape(-1, C.shape[2]))[:, 1].reshape(C.shape[:2])

    second = np.zeros(C.shape[:2])
    for k in range(c.task.n_folds):
        second[fold == k] = predict(fit(fold != k), C[fold == k])
    second_test = predict(fit(np.ones(len(Y), bool)), C_test)
    c.report("gbm: a second stage on context", c.aggregate(Scores(second, second_test)), base, t)


# ---- pooling and calibration


def pooling(c: Candidates) -> None:
    """Poolings and calibrations that are not among those of the aggregation, on the windows of the GBM."""
    base, Y, fold = c.aggregate(c.gbm), c.task.truth, c.task.fold

    def each(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Scores:
        return Scores(function(c.gbm.oof, c.first["train"]), function(c.gbm.test, c.first["test"]))

    def calibrated(P: Scores, shrinkage: float = np.inf) -> Scores:
        oof, calibrator = calibrate(P.oof, Y, fold, shrinkage=shrinkage)
        return Scores(oof, calibrator.transform(P.test))

    def noisy_or(P: np.ndarray, first: np.ndarray) -> np.ndarray:
        return -np.expm1(np.add.reduceat(np.log1p(-(np.clip(P, 0, 1 - 1e-9) ** 3)), first, axis=0))

    def attention(a: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def weighted(P: np.ndarray, first: np.ndarray) -> np.ndarray:
            w = np.exp(a * logit(P))
            return np.add.reduceat(P * w, first, axis=0) / np.add.reduceat(w, first, axis=0)

        return weighted

    poolings = {how: calibrated(each(lambda P, f, how=how: pool(P, f, how))) for how in POOLINGS}
    c.report("pooling: maximum over windows (HCP)", poolings["max"], base)
    c.report("pooling: noisy-or of the third powers", calibrated(each(noisy_or)), base)
    for a in (0.5, 1.0, 2.0):
        c.report(f"pooling: attention to the scores, exponent {a:g}", calibrated(each(attention(a))), base)
    for how in ("max", "top2"):
        per_species = calibrated(each(lambda P, f, how=how: pool(P, f, how)), shrinkage=5.0)
        c.report(f"calibration: a curve for each species ({how})", per_species, base)

    def choose(rows: np.ndarray) -> np.ndarray:
        ap = np.stack([np.nan_to_num(ap_per_species(Y[rows], P.oof[rows])) for P in poolings.values()])
        return (ap + ap.mean(axis=1, keepdims=True)).argmax(axis=0)

    def pick(rows: np.ndarray, part: str, chosen: np.ndarray) -> np.ndarray:
        stack = np.stack([getattr(P, part)[rows] for P in poolings.values()])
        return np.take_along_axis(stack, chosen[None, None], axis=0)[0]

    oof = np.zeros(Y.shape)
    for k in range(c.task.n_folds):
        oof[fold == k] = pick(fold == k, "oof", choose(fold != k))
    test = pick(np.ones(len(c.truth_test), bool), "test", choose(np.ones(len(Y), bool)))
    c.report("pooling: one for each species, shrunk to the common one", Scores(oof, test), base)

    def recording_features(P: np.ndarray, first: np.ndarray) -> np.ndarray:
        Z, n = logit(P), np.diff(np.append(first, len(P)))
        parts = [pool(Z, first, how) for how in ("max", "top3", "mean")]
        level = np.broadcast_to(parts[2].mean(axis=1, keepdims=True), parts[2].shape)
        spread = np.sqrt(np.maximum(pool(Z**2, first, "mean") - parts[2] ** 2, 0))
        return np.stack(
            [*parts, spread, level * parts[0], np.broadcast_to(np.log(n)[:, None], level.shape)], axis=2
        )

    X = each(recording_features)
    mean, std = X.oof.mean(axis=(0, 1)), X.oof.std(axis=(0, 1)) + 1e-9
    X = Scores(*((x - mean) / std for x in X))
    for name, n in {"max, top3 and mean": 3, "the same, spread, level and number of windows": 6}.items():
        oof = np.zeros(Y.shape)
        for k in range(c.task.n_folds):
            weights = rank_weights(X.oof[fold != k][..., :n], Y[fold != k])
            oof[fold == k] = expit(X.oof[fold == k][..., :n] @ weights)
        test = expit(X.test[..., :n] @ rank_weights(X.oof[..., :n], Y))
        c.report(f"calibration: pairwise ranking loss on {name}", Scores(oof, test), base)

    # The most that offsets could gain: fitted on the recordings that they are scored on.
    Z, offsets = logit(base.oof), np.zeros(Y.shape[1])
    for _ in range(3):
        for s in range(len(offsets)):
            trials = [offsets + d * (np.arange(len(offsets)) == s) for d in np.linspace(-2, 2, 17)]
            offsets = max(trials, key=lambda o: (lrap(Y, Z + o), -np.abs(o).sum()))
    c.report(
        "diagnostic, not a candidate: offsets fitted to the scored recordings",
        Scores(expit(Z + offsets), base.test),
        base,
    )


def rank_weights(X: np.ndarray, Y: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Return the weights that minimise the logistic loss of pairs of species within recordings."""
    differences = [
        (x[y == 1][:, None] - x[y == 0][None]).reshape(-1, X.shape[2])
        for x, y in zip(X, Y, strict=True)
        if 0 < y.sum() < len(y)
    ]
    D = np.concatenate(differences)
    w = np.concatenate([np.full(len(d), 1 / len(d)) for d in differences])

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        m = D @ v
        return (np.logaddexp(0, -m) * w).sum() + penalty * (v**2).sum(), 2 * penalty * v - D.T @ (
            expit(-m) * w
        )

    return minimize(loss, np.zeros(X.shape[2]), jac=True).x


# ---- networks


def blend(c: Candidates) -> None:
    """Weights of the members for each species, shrunk to common ones, instead of common weights."""
    names = ("gbm", "mlp", "gru", "cnn")
    members = [c.member(name) for name in names]
    base, Y, fold = c.member("blend"), c.task.truth, c.task.fold
    X = Scores(*(np.stack([logit(P) for P in part], axis=2) for part in zip(*members, strict=True)))

    def fit(rows: np.ndarray, precision: float) -> np.ndarray:
        def logistic(x: np.ndarray, y: np.ndarray, prior: np.ndarray, precision: float) -> np.ndarray:
            x = np.column_stack([x, np.ones(len(x))])

            def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
                m = x @ v
                d = v - prior
                return np.logaddexp(0, m).sum() - m @ y + precision * d @ d / 2, x.T @ (
                    expit(m) - y
                ) + precision * d

            return minimize(loss, prior, jac=True).x

        x, y = X.oof[rows], Y[rows]
        start = np.append(np.full(len(names), 1 / len(names)), 0.0)
        common = logistic(x.reshape(-1, len(names)), y.ravel(), start, 1.0)
        return np.stack([logistic(x[:, s], y[:, s], common, precision) for s in range(y.shape[1])])

    def predict(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return expit((x * v[:, :-1]).sum(axis=2) + v[:, -1])

    for precision in (1e9, 30.0, 5.0):
        oof = np.zeros(Y.shape)
        for k in range(c.task.n_folds):
            oof[fold == k] = predict(X.oof[fold == k], fit(fold != k, precision))
        test = predict(X.test, fit(np.ones(len(Y), bool), precision))
        what = "common" if precision > 1e6 else f"of each species, precision {precision:g}"
        c.report(f"blend: logistic weights, {what}", Scores(oof, test), base)


def embeddings(c: Candidates) -> None:
    """The features of the CNN of the fold as columns of the GBM."""
    base, t = c.aggregate(c.gbm), time.perf_counter()
    networks = [
        CNNClassifier.load(c.task.results / "checkpoints" / "cnn" / f"fold{k}.pt")
        for k in range(c.task.n_folds)
    ]
    X, X_test = (c.task.compute(part, window_sequences, "sequences") for part in ("train", "test"))

    def embed(network: CNNClassifier, X: np.ndarray) -> np.ndarray:
        net, kept = network.net_.eval(), []
        hook = net.features.register_forward_hook(lambda module, x, y: kept.append(y.relu().amax(dim=1)))
        with torch.inference_mode():
            for k in range(0, len(X), 512):
                net(net.normalise(torch.tensor(X[k : k + 512])))
        hook.remove()
        return torch.cat(kept).numpy()

    # Overlays have no embedding, so both are fitted without them.
    plain = TrainingWindows(c.task, n_overlays=0)
    folds, fold = [plain.fold(k) for k in range(c.task.n_folds)], c.task.per_window(c.task.fold)
    with_embeddings, tests = [], []
    for k, (f, network) in enumerate(zip(folds, networks, strict=True)):
        rows = plain._draw(fold != k, 0)
        E = embed(network, X)
        new = Fold(np.hstack([f.X, E[rows]]), f.Y, f.held, np.hstack([f.X_held, E[f.held]]))
        with_embeddings.append(new)
        columns = np.hstack([c.X_test, embed(network, X_test)])
        tests.append(clone(c.model).fit(new.X, new.Y).predict_proba(columns))
    *_, P = out_of_fold(c.model, with_embeddings)
    c.report(
        "gbm without overlays: features of the CNN as columns",
        c.aggregate(Scores(P, np.mean(tests, axis=0))),
        base,
        t,
    )


def instances(c: Candidates) -> None:
    """The GRU on whole recordings and their labels; pooled by its attention (multiple instances)."""
    base, t = c.member("gru"), time.perf_counter()

    def whole(frames, starts, length):
        return window_sequences(frames, np.array([0]), len(frames))

    X, X_test = (c.task.compute(part, whole, "sequences") for part in ("train", "test"))
    network = GRUClassifier(device="cpu", epochs=24, batch_size=16)
    P, tests = np.zeros(c.task.truth.shape), []
    for k, f in enumerate(split(X, c.task.known, c.task.fold)):
        fitted = seeded(network, c.task.seed + k).fit(f.X, f.Y)
        P[f.held] = fitted.predict_proba(f.X_held)
        tests.append(fitted.predict_proba(X_test))
    c.report("gru: trained on recordings (multiple-instance)", Scores(P, np.mean(tests, axis=0)), base, t)


CANDIDATES = {f.__name__: f for f in (pooling, blend, context, linear, masked, instances, embeddings, trees)}


def main(args: argparse.Namespace) -> None:
    candidates = Candidates(load_task(args))
    for name in args.only or CANDIDATES:
        CANDIDATES[name](candidates)


if __name__ == "__main__":
    parser = training_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=CANDIDATES, help="candidates; all if it is not given")
    run(main, parser)
