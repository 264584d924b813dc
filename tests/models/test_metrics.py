import numpy as np
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, roc_auc_score

from models.metrics import (
    METRICS,
    ap_per_species,
    auc_per_species,
    bootstrap_interval,
    calibration_metrics,
    difference_error,
    evaluate,
    lrap,
    lrap_per_recording,
    lwlrap,
    macro_auc,
    precision_and_recall,
    reliability,
)


def random_table(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and scores; some seeds give ties, rows of a single class, or a single column."""
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 30), 1 if seed % 10 == 0 else rng.integers(2, 12))
    Y = (rng.random(shape) < rng.random()).astype(float)
    Y[rng.random(shape[0]) < 0.2] = 0
    Y[rng.random(shape[0]) < 0.1] = 1
    P = rng.random(shape)
    return Y, np.round(P, 1) if seed % 2 else P


TABLES = [random_table(seed) for seed in range(100)]


def slow_lrap_of_row(y: np.ndarray, p: np.ndarray) -> float:
    """Return the LRAP of one recording, computed from the definition of LRAP."""
    precisions = []
    for i in range(len(y)):
        if y[i] == 1:
            ranked = [j for j in range(len(y)) if not np.isnan(y[j]) and p[j] >= p[i]]
            precisions.append(sum(y[j] == 1 for j in ranked) / len(ranked))
    return float(np.mean(precisions)) if precisions else float("nan")


def test_lrap_equals_sklearn_on_rows_with_positives() -> None:
    for Y, P in TABLES:
        rows = Y.any(axis=1)
        if rows.any():
            assert lrap(Y, P) == pytest.approx(
                label_ranking_average_precision_score(Y[rows], P[rows]), abs=1e-12
            )
        else:
            assert np.isnan(lrap(Y, P))


def test_lwlrap_equals_slow_reference_and_weighted_sklearn() -> None:
    for Y, P in TABLES:
        if not Y.any():
            assert np.isnan(lwlrap(Y, P))
            continue
        hits = [(slow_lrap_of_row(y, p), y.sum()) for y, p in zip(Y, P, strict=True) if y.any()]
        slow = sum(value * n for value, n in hits) / sum(n for _, n in hits)
        assert lwlrap(Y, P) == pytest.approx(slow, abs=1e-12)
        weighted = label_ranking_average_precision_score(Y, P, sample_weight=Y.sum(axis=1))
        assert lwlrap(Y, P) == pytest.approx(weighted, abs=1e-12)


def test_unknown_cells_are_ignored() -> None:
    for seed, (Y, P) in enumerate(TABLES):
        Y = Y.copy()
        Y[np.random.default_rng(seed).random(Y.shape) < 0.4] = np.nan
        slow = [slow_lrap_of_row(y, p) for y, p in zip(Y, P, strict=True)]
        np.testing.assert_allclose(lrap_per_recording(Y, P), slow, atol=1e-12)


@pytest.mark.parametrize(
    "monotone", [np.exp, lambda p: p**3 - 5, lambda p: np.log(p + 1e-3), lambda p: 1e-4 * p + 7]
)
def test_lrap_is_invariant_to_monotone_maps(monotone) -> None:  # type: ignore[no-untyped-def]
    for Y, P in TABLES:
        np.testing.assert_array_equal(lrap_per_recording(Y, monotone(P)), lrap_per_recording(Y, P))


def test_lrap_does_not_depend_on_number_of_rows() -> None:
    rng = np.random.default_rng(0)
    Y, P = (rng.random((1500, 5)) < 0.3).astype(float), rng.random((1500, 5))
    single = [lrap_per_recording(Y[k : k + 1], P[k : k + 1])[0] for k in range(0, 1500, 7)]
    np.testing.assert_array_equal(lrap_per_recording(Y, P)[::7], single)


def test_lrap_of_small_tables_is_known() -> None:
    Y = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0.0]])
    P = np.array([[0.9, 0.1, 0.2], [0.9, 0.5, 0.6], [0.1, 0.2, 0.3]])
    np.testing.assert_allclose(lrap_per_recording(Y, P), [1, 1 / 2, np.nan])
    evaluation = evaluate(Y, P, seed=0)
    assert evaluation.n_recordings == 2
    assert evaluation.lrap == 0.75


def test_species_metrics_use_known_recordings_and_are_nan_for_one_class() -> None:
    rng = np.random.default_rng(0)
    Y, P = (rng.random((50, 3)) < 0.4).astype(float), rng.random((50, 3))
    Y[:, 1] = 1
    Y[:20, 2] = np.nan
    P[:, 2] = P[:, 2].round(1)  # ties
    for per_species, of_sklearn in (
        (auc_per_species, roc_auc_score),
        (ap_per_species, average_precision_score),
    ):
        expected = [of_sklearn(Y[:, 0], P[:, 0]), np.nan, of_sklearn(Y[20:, 2], P[20:, 2])]
        np.testing.assert_allclose(per_species(Y, P), expected, rtol=1e-12)
        assert np.isnan(per_species(np.zeros((0, 3)), np.zeros((0, 3)))).all()


def test_macro_auc_is_the_mean_over_species_that_have_both_classes() -> None:
    assert METRICS["auc"] is macro_auc
    rng = np.random.default_rng(0)
    Y, P = (rng.random((50, 4)) < 0.4).astype(float), rng.random((50, 4))
    Y[:, 1], Y[:, 3] = 1, 0
    expected = [roc_auc_score(Y[:, k], P[:, k]) for k in (0, 2)]
    assert macro_auc(Y, P) == pytest.approx(np.mean(expected))
    assert np.isnan(macro_auc(Y[:, [1, 3]], P[:, [1, 3]]))


def test_precision_and_recall_equal_counts_over_known_recordings() -> None:
    for seed, (Y, P) in enumerate(TABLES):
        Y, threshold = Y.copy(), np.random.default_rng(seed).random(Y.shape[1]).round(1)
        Y[np.random.default_rng(seed).random(Y.shape) < 0.3] = np.nan
        for k, (precision, recall) in enumerate(zip(*precision_and_recall(Y, P, threshold), strict=True)):
            cells = [(y, p >= threshold[k]) for y, p in zip(Y[:, k], P[:, k], strict=True) if not np.isnan(y)]
            hits = sum(y == 1 and reported for y, reported in cells)
            n_reported, n_present = sum(reported for _, reported in cells), sum(y == 1 for y, _ in cells)
            assert precision == pytest.approx(hits / n_reported if n_reported else np.nan, nan_ok=True)
            assert recall == pytest.approx(hits / n_present if n_present else np.nan, nan_ok=True)


def test_bootstrap_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        low, high = bootstrap_interval(np.append(rng.normal(3, 1, 60), np.nan), seed)
        covered += low <= 3 <= high
    assert 0.90 <= covered / 100 <= 0.99


def test_nan_scores_and_different_shapes_are_rejected() -> None:
    with pytest.raises(ValueError, match="nan in 1 of 2 rows"):
        lrap(np.ones((2, 2)), np.array([[0.1, np.nan], [0.2, 0.3]]))
    with pytest.raises(ValueError, match="shape"):
        lrap(np.ones((2, 2)), np.ones((2, 3)))


def test_difference_error_is_close_to_standard_error_of_mean() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((4000, 6)) < 0.3).astype(float)
    P, Q = Y + rng.normal(0, 0.6, Y.shape), Y + rng.normal(0, 0.6, Y.shape)
    difference = lrap_per_recording(Y, P) - lrap_per_recording(Y, Q)
    expected = np.nanstd(difference) / np.sqrt(np.isfinite(difference).sum())
    assert 0.5 * expected < difference_error(lrap, Y, P, other=Q) < 2 * expected
    assert difference_error(lrap, Y, P, other=P) == 0


def test_difference_error_uses_larger_blocks_if_the_metric_is_undefined_in_most() -> None:
    rng = np.random.default_rng(0)
    Y = np.isin(np.arange(24), [0, 7, 14, 21]).astype(float)[:, None]  # only four of ten blocks have one
    P, Q = (Y + rng.normal(0, 1, Y.shape) for _ in range(2))
    found = difference_error(macro_auc, Y, P, other=Q)
    n_defined = {
        n: [macro_auc(Y[k::n], P[k::n]) - macro_auc(Y[k::n], Q[k::n]) for k in range(n)] for n in range(2, 11)
    }
    n_blocks = max(n for n, found in n_defined.items() if np.isfinite(found).sum() >= max(n / 2, 2))
    assert n_blocks == 8
    assert found == pytest.approx(np.nanstd(n_defined[n_blocks], ddof=1) / np.sqrt(n_blocks))
    assert found > 0


def test_difference_error_is_nan_if_the_metric_is_undefined() -> None:
    P = np.random.default_rng(0).random((2, 20, 1))
    assert np.isnan(difference_error(macro_auc, np.ones((20, 1)), P[0], other=P[1]))
    assert np.isnan(difference_error(macro_auc, np.eye(1, 20).T, P[0], other=P[1]))  # one positive recording
    assert np.isnan(difference_error(lrap, np.ones((1, 1)), P[0, :1], other=P[1, :1]))


def test_calibrated_probabilities_have_low_errors() -> None:
    rng = np.random.default_rng(0)
    P = rng.random((20_000, 3))
    Y = (rng.random(P.shape) < P).astype(float)
    calibrated, distorted = calibration_metrics(Y, P), calibration_metrics(Y, P**3)
    assert calibrated.ece < 0.02
    assert distorted.ece > 0.1
    assert distorted.brier > calibrated.brier == pytest.approx(1 / 6, abs=0.01)
    assert distorted.log_loss > calibrated.log_loss == pytest.approx(0.5, abs=0.01)
    predicted, observed, count = reliability(Y, P)
    np.testing.assert_allclose(predicted, observed, atol=0.02)
    assert count.sum() == P.size


def test_calibration_metrics_ignore_unknown_cells_and_rare_species() -> None:
    Y = np.array([[1.0, np.nan], [0.0, 0.0]] * 5)
    P = np.full(Y.shape, 0.5)
    P[:, 1] = 0.0
    found = calibration_metrics(Y, P)
    assert found.ece == 0  # only the first species counts; half of its recordings are positive
    assert found.brier == pytest.approx(0.25 * 10 / 15)
