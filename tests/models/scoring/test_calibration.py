import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from models.logistic import logit
from models.metrics import lrap
from models.scoring.calibration import PlattCalibrator, calibrate


def scores(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth; all species have the same accuracy, but their scores have different levels."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, 5)) < 0.3).astype(float)
    x = 1.5 * (2 * Y - 1) + rng.normal(size=Y.shape)
    return expit(np.array([0.4, 1.0, 1.0, 2.0, 1.0]) * x + np.array([-1.5, 0.0, -1.0, 0.5, 1.0])), Y


def test_calibrator_without_shrinkage_equals_balanced_logistic_regression() -> None:
    P, Y = scores()
    Y[:250, 2] = 0  # this species is rarer than the others
    calibrator = PlattCalibrator(shrinkage=1e-9).fit(P, Y)
    share = Y.mean()
    for k in range(5):
        weight = np.where(Y[:, k] == 1, 1.0, (1 - share) / share * Y[:, k].sum() / (Y[:, k] == 0).sum())
        reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(P[:, k : k + 1]), Y[:, k], weight)
        np.testing.assert_allclose(
            calibrator.coef_[k], [reference.coef_[0, 0], reference.intercept_[0]], rtol=1e-3
        )


def test_calibration_does_not_depend_on_number_of_annotations() -> None:
    P, Y = scores(n=4000)
    rows = np.flatnonzero((Y[:, 1] == 0) | (np.arange(4000) % 4 == 0))  # keeps a quarter of the positives
    fewer = Y.copy()
    fewer[np.setdiff1d(np.arange(4000), rows), 1] = np.nan
    of_all, of_fewer = (PlattCalibrator().fit(P, truth).coef_[1] for truth in (Y, fewer))
    np.testing.assert_allclose(of_fewer, of_all, atol=0.35)


def test_fit_converges_for_very_low_scores() -> None:
    rng = np.random.default_rng(0)
    P, Y = 1e-6 + 1e-4 * rng.random((19, 24)), np.zeros((19, 24))
    Y[np.arange(19), rng.integers(0, 14, 19)] = 1
    coef = PlattCalibrator().fit(P, Y).coef_
    assert np.abs(coef).max() < 100
    assert PlattCalibrator().fit(P, Y).transform(P).mean() == pytest.approx(Y.mean(), abs=0.05)


@pytest.mark.parametrize("shrinkage", [1e9, np.inf])
def test_maximum_shrinkage_gives_all_species_the_common_curve(shrinkage: float) -> None:
    P, Y = scores()
    coef = PlattCalibrator(shrinkage).fit(P, Y).coef_
    np.testing.assert_allclose(coef, np.tile(coef[:1], (5, 1)), atol=1e-5)


def test_calibration_improves_lrap_and_keeps_order_within_species() -> None:
    P, Y = scores()
    calibrated, calibrator = calibrate(P, Y, np.arange(len(P)) % 5, shrinkage=5.0)
    assert lrap(Y, calibrated) > lrap(Y, P) + 0.05
    np.testing.assert_allclose(calibrated.mean(axis=0), Y.mean(axis=0), atol=0.06)
    whole = calibrator.transform(P)
    for k in range(5):
        assert roc_auc_score(Y[:, k], whole[:, k]) == roc_auc_score(Y[:, k], P[:, k])


def test_fold_is_calibrated_with_curves_fitted_on_the_other_folds() -> None:
    P, Y = scores()
    fold = np.arange(len(P)) % 4
    changed = Y.copy()
    changed[fold == 2] = 1 - changed[fold == 2]
    before, after = (calibrate(P, truth, fold, shrinkage=5.0)[0] for truth in (Y, changed))
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert not np.allclose(before[fold != 2], after[fold != 2])


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_scores_of_species_with_one_class_stay_finite_and_in_order(value: float) -> None:
    P, Y = scores()
    Y[:, 1] = value
    P[0] = 0.0
    P[1] = 1.0
    calibrated = PlattCalibrator().fit(P, Y).transform(P)
    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated[np.argsort(P[:, 1]), 1]) >= 0).all()


def test_reversed_labels_do_not_reverse_the_scores() -> None:
    P, Y = scores(n=30)
    assert (PlattCalibrator(shrinkage=0.01).fit(P, 1 - Y).coef_[:, 0] > 0).all()
