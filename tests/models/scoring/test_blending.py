import numpy as np
import pytest
import scipy.stats

from models.metrics import lrap
from models.scoring.blending import SPACES, Blend, blend_or_best, candidates, cross_fit, fit_blend


def members(n: int = 120, noises: tuple[float, ...] = (1.0, 1.0), seed: int = 0) -> tuple[np.ndarray, ...]:
    """Scores of models that see the truth through noise of their own; truth; folds."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 6)) < 0.3).astype(float)
    scores = [1 / (1 + np.exp(-2 * truth + 1 - noise * rng.normal(size=truth.shape))) for noise in noises]
    return np.stack(scores), truth, np.arange(n) % 5


@pytest.mark.parametrize("space", SPACES)
def test_a_blend_of_one_model_with_itself_ranks_as_the_model(space: str) -> None:
    (P, _), truth, _ = members()
    blended = Blend(space, (0.3, 0.7)).apply(np.stack([P, P]))
    assert blended.min() >= 0
    assert blended.max() <= 1
    assert lrap(truth, blended) == lrap(truth, P)


def test_spaces_have_known_answers() -> None:
    P = np.array([[[0.1, 0.5, 0.9]], [[0.9, 0.8, 0.5]]])
    np.testing.assert_allclose(Blend("probability", (0.5, 0.5)).apply(P), [[0.5, 0.65, 0.7]])
    np.testing.assert_allclose(Blend("logit", (0.5, 0.5)).apply(P)[0, 0], 0.5)
    np.testing.assert_allclose(Blend("rank", (0.5, 0.5)).apply(P), [[0.5, 0.5, 0.5]])


def test_certain_scores_stay_finite_in_logit_space() -> None:
    blended = Blend("logit", (0.5, 0.5)).apply(np.array([[[0.0, 1.0]], [[1.0, 1.0]]]))
    assert np.isfinite(blended).all()


@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_candidates_are_the_simplex(n_members: int) -> None:
    found = candidates(n_members)
    assert len(set(found)) == len(found)
    assert all(sum(blend.weights) == pytest.approx(1) for blend in found)
    corners = {blend.weights for blend in found if max(blend.weights) == 1}
    assert len(corners) == n_members


def test_a_blend_leaves_equal_weights_no_further_than_it_gains() -> None:
    (P, _), truth, _ = members()
    assert fit_blend(np.stack([P, P]), truth, lrap) == Blend("logit", (0.5, 0.5))
    noise = np.random.default_rng(0).random(P.shape)
    both = np.stack([P, noise])
    chosen = fit_blend(both, truth, lrap)
    best = max(candidates(2), key=lambda blend: lrap(truth, blend.apply(both)))
    assert 0.5 < chosen.weights[0] <= best.weights[0]
    assert lrap(truth, chosen.apply(both)) > lrap(truth, best.apply(both)) - 0.02


def test_another_space_must_be_better_by_more_than_chance() -> None:
    scores, truth, _ = members()
    assert fit_blend(scores, truth, lrap).space == "logit"
    # A member that is sure of itself, and wrong, spoils log odds but not ranks.
    rng = np.random.default_rng(1)
    sure = np.where(rng.random(truth.shape) < 0.5, scores[1], rng.integers(0, 2, truth.shape))
    assert fit_blend(np.stack([scores[0] * 0.2 + 0.4, sure]), truth, lrap).space != "logit"


def test_a_fold_is_scored_by_weights_fitted_without_it() -> None:
    scores, truth, fold = members()
    P, blends = cross_fit(scores, truth, fold, lrap)
    changed = truth.copy()
    changed[fold == 2] = 1 - changed[fold == 2]
    P_changed, blends_changed = cross_fit(scores, changed, fold, lrap)
    assert blends[2] == blends_changed[2]
    np.testing.assert_array_equal(P[fold == 2], P_changed[fold == 2])
    assert blends != blends_changed


def test_two_equal_models_with_noise_of_their_own_are_better_together() -> None:
    scores, truth, fold = members()
    P, chosen, _ = blend_or_best(scores, truth, fold, lrap)
    assert lrap(truth, P) > max(lrap(truth, member) for member in scores) + 0.01
    assert 0.1 < chosen.weights[0] < 0.9


def test_where_blending_does_not_help_the_better_member_stands() -> None:
    scores, truth, fold = members(n=40, noises=(0.8, 3.0), seed=6)

    def worse_mixed(Y: np.ndarray, P: np.ndarray) -> float:
        """On all folds together only the members themselves score; a fold's fit sees otherwise."""
        if len(Y) < len(truth):
            return -float(np.abs(P - scores.mean(axis=0)[: len(P)]).mean())
        return lrap(Y, P) if any(np.array_equal(P, member) for member in scores) else 0.0

    P, chosen, fold_blends = blend_or_best(scores, truth, fold, worse_mixed)
    np.testing.assert_array_equal(P, scores[0])
    assert chosen == Blend("probability", (1.0, 0.0))
    assert fold_blends == [chosen] * 5


def test_row_ranks_equal_scipys_row_by_row() -> None:
    P = np.round(np.random.default_rng(0).random((20, 7)), 1)
    ranks = SPACES["rank"][0](P)
    for row, expected in zip(ranks, P, strict=True):
        np.testing.assert_allclose(row, (scipy.stats.rankdata(expected) - 1) / 6)
