import numpy as np
import pytest
import scipy.stats

from models.metrics import lrap, macro_auc
from models.scoring.blending import (
    MAX_WEIGHTS,
    SPACES,
    Blend,
    blend_or_best,
    candidates,
    cross_fit,
    fit_blend,
    informative,
)


def members(n: int = 120, noises: tuple[float, ...] = (1.0, 1.0), seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return scores of members with independent noise, truth, and folds, all for `n` recordings."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 6)) < 0.3).astype(float)
    scores = [1 / (1 + np.exp(-2 * truth + 1 - noise * rng.normal(size=truth.shape))) for noise in noises]
    return np.stack(scores), truth, np.arange(n) % 5


def random_scores(truth: np.ndarray, seed: int) -> np.ndarray:
    """Return scores of a member without information."""
    return np.random.default_rng(1000 + seed).random(truth.shape)


@pytest.mark.parametrize("space", SPACES)
def test_blend_of_a_member_with_itself_keeps_the_ranking(space: str) -> None:
    (P, _), truth, _ = members()
    blended = Blend(space, (0.3, 0.7)).apply(np.stack([P, P]))
    assert blended.min() >= 0
    assert blended.max() <= 1
    assert lrap(truth, blended) == lrap(truth, P)


def test_blends_of_small_tables_are_known() -> None:
    P = np.array([[[0.1, 0.5, 0.9]], [[0.9, 0.8, 0.5]]])
    np.testing.assert_allclose(Blend("probability", (0.5, 0.5)).apply(P), [[0.5, 0.65, 0.7]])
    np.testing.assert_allclose(Blend("logit", (0.5, 0.5)).apply(P)[0, 0], 0.5)
    np.testing.assert_allclose(Blend("rank", (0.5, 0.5)).apply(P), [[0.5, 0.5, 0.5]])


def test_scores_of_0_and_1_stay_finite_in_logit_space() -> None:
    blended = Blend("logit", (0.5, 0.5)).apply(np.array([[[0.0, 1.0]], [[1.0, 1.0]]]))
    assert np.isfinite(blended).all()


@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_candidate_weights_sum_to_1_and_include_each_member_alone(n_members: int) -> None:
    found = candidates(n_members)
    assert len(set(found)) == len(found)
    assert all(sum(blend.weights) == pytest.approx(1) for blend in found)
    corners = {blend.weights for blend in found if max(blend.weights) == 1}
    assert len(corners) == n_members


@pytest.mark.parametrize(
    ("n_members", "n_steps"), [(2, 20), (3, 20), (4, 10), (5, 6), (6, 5), (8, 3), (12, 2)]
)
def test_grid_gets_coarser_with_more_members_and_contains_equal_weights(n_members: int, n_steps: int) -> None:
    weights = [blend.weights for blend in candidates(n_members) if blend.space == "logit"]
    equal = (1 / n_members,) * n_members
    assert equal in weights
    grid = [w for w in weights if w != equal]
    assert len(grid) <= MAX_WEIGHTS
    np.testing.assert_allclose(np.array(grid) * n_steps, np.round(np.array(grid) * n_steps), atol=1e-12)
    assert {min(w for w in point if w > 0) for point in grid} >= {1 / n_steps}


def test_weights_are_equal_unless_unequal_weights_rank_better() -> None:
    (P, _), truth, _ = members()
    assert fit_blend(np.stack([P, P]), truth, lrap) == Blend("logit", (0.5, 0.5))
    (_, poor), _, _ = members(noises=(1.0, 1.5))
    both = np.stack([P, poor])
    chosen = fit_blend(both, truth, lrap)
    best = max(candidates(2), key=lambda blend: lrap(truth, blend.apply(both)))
    assert 0.5 < chosen.weights[0] <= best.weights[0]
    assert lrap(truth, chosen.apply(both)) > lrap(truth, best.apply(both)) - 0.02


def test_weights_are_equal_if_the_metric_is_undefined() -> None:
    scores, truth, fold = members(noises=(1.0, 3.0))
    present = np.ones_like(truth)
    P, chosen, fold_blends = blend_or_best(scores, present, fold, metric=macro_auc)
    assert [chosen, *fold_blends] == [Blend("logit", (0.5, 0.5))] * 6
    np.testing.assert_array_equal(P, chosen.apply(scores))


def test_one_species_is_blended_by_auc() -> None:
    scores, truth, fold = members(n=200, noises=(0.5, 4.0))
    scores, truth = scores[:, :, :1], truth[:, :1]
    chosen = fit_blend(scores, truth, macro_auc)
    assert chosen.weights[0] > chosen.weights[1]
    assert macro_auc(truth, chosen.apply(scores)) >= macro_auc(
        truth, Blend("logit", (0.5, 0.5)).apply(scores)
    )
    # A fold without positives does not change the weights of the others.
    P, _, _ = blend_or_best(scores, np.where((fold == 0)[:, None], 0, truth), fold, metric=macro_auc)
    assert np.isfinite(P).all()


def test_space_is_logit_unless_another_space_ranks_clearly_better() -> None:
    scores, truth, _ = members()
    assert fit_blend(scores, truth, lrap).space == "logit"
    # Wrong scores of 0 and 1 dominate the sum of log odds, but not the sum of ranks.
    rng = np.random.default_rng(1)
    extreme = np.where(rng.random(truth.shape) < 0.5, scores[1], rng.integers(0, 2, truth.shape))
    assert fit_blend(np.stack([scores[0] * 0.2 + 0.4, extreme]), truth, lrap).space != "logit"


@pytest.mark.parametrize("with_noise", [False, True])
def test_fold_is_scored_with_weights_fitted_on_the_other_folds(with_noise: bool) -> None:
    scores, truth, fold = members()
    if with_noise:
        scores = np.stack([*scores, random_scores(truth, 0)])
    P, blends = cross_fit(scores, truth, fold, metric=lrap)
    changed = truth.copy()
    changed[fold == 2] = 1 - changed[fold == 2]
    P_changed, blends_changed = cross_fit(scores, changed, fold, metric=lrap)
    assert blends[2] == blends_changed[2]
    np.testing.assert_array_equal(P[fold == 2], P_changed[fold == 2])
    assert blends != blends_changed


def test_blend_of_members_with_independent_noise_is_better_than_each() -> None:
    scores, truth, fold = members()
    P, chosen, _ = blend_or_best(scores, truth, fold, metric=lrap)
    assert lrap(truth, P) > max(lrap(truth, member) for member in scores) + 0.01
    assert 0.1 < chosen.weights[0] < 0.9


def test_best_member_is_used_alone_if_blending_does_not_help() -> None:
    scores, truth, fold = members(n=40, noises=(0.8, 3.0), seed=6)

    def metric_against_blends(Y: np.ndarray, P: np.ndarray) -> float:
        """Return 0 for a blend of all recordings; for fewer recordings, as in a fold, prefer the mean."""
        if len(Y) < len(truth):
            return -float(np.abs(P - scores.mean(axis=0)[: len(P)]).mean())
        return lrap(Y, P) if any(np.array_equal(P, member) for member in scores) else 0.0

    P, chosen, fold_blends = blend_or_best(scores, truth, fold, metric=metric_against_blends)
    np.testing.assert_array_equal(P, scores[0])
    assert chosen == Blend("probability", (1.0, 0.0))
    assert fold_blends == [chosen] * 5


def test_row_ranks_equal_scipy() -> None:
    P = np.round(np.random.default_rng(0).random((20, 7)), 1)
    ranks = SPACES["rank"][0](P)
    for row, expected in zip(ranks, P, strict=True):
        np.testing.assert_allclose(row, (scipy.stats.rankdata(expected) - 1) / 6)


def test_blend_of_one_member_is_the_member() -> None:
    scores, truth, fold = members(noises=(1.0,))
    P, chosen, fold_blends = blend_or_best(scores, truth, fold, metric=lrap)
    np.testing.assert_array_equal(P, scores[0])
    assert [chosen, *fold_blends] == [Blend("probability", (1.0,))] * 6


@pytest.mark.parametrize("n_members", [3, 4, 6])
def test_blend_of_many_members_is_better_than_of_two(n_members: int) -> None:
    scores, truth, fold = members(n=60, noises=(2.0,) * n_members)
    P, chosen, fold_blends = blend_or_best(scores, truth, fold, metric=lrap)
    two, _, _ = blend_or_best(scores[:2], truth, fold, metric=lrap)
    assert lrap(truth, P) > lrap(truth, two)
    for blend in [chosen, *fold_blends]:
        assert len(blend.weights) == n_members
        assert sum(blend.weights) == pytest.approx(1)


def test_noise_has_weight_0_and_does_not_change_the_blend() -> None:
    n_low = n_equal = 0
    for seed in range(20):
        scores, truth, fold = members(seed=seed)
        fold %= 3  # three folds need fewer fits than five
        P, chosen, fold_blends = blend_or_best(scores, truth, fold, metric=lrap)
        with_noise = np.stack([*scores, random_scores(truth, seed)])
        P_noise, chosen_noise, fold_blends_noise = blend_or_best(with_noise, truth, fold, metric=lrap)
        n_low += chosen_noise.weights[2] < 0.1
        expected = [Blend(blend.space, (*blend.weights, 0.0)) for blend in (chosen, *fold_blends)]
        n_equal += [chosen_noise, *fold_blends_noise] == expected and np.array_equal(P, P_noise)
    assert n_low >= 19
    assert n_equal >= 19


@pytest.mark.parametrize("position", [0, 1])
def test_noise_has_weight_0_at_any_position(position: int) -> None:
    scores, truth, _ = members()
    expected = fit_blend(scores, truth, lrap)
    with_noise = np.insert(scores, position, random_scores(truth, 0), axis=0)
    chosen = fit_blend(with_noise, truth, lrap)
    assert chosen.space == expected.space
    assert chosen.weights == tuple(np.insert(expected.weights, position, 0.0))


def test_noisy_copy_of_the_truth_improves_the_blend() -> None:
    scores, truth, fold = members(noises=(2.0, 2.0))
    P, _, _ = blend_or_best(scores, truth, fold, metric=lrap)
    copy = np.clip(truth + np.random.default_rng(2).normal(0, 0.4, truth.shape), 0, 1)
    P_copy, chosen, _ = blend_or_best(np.stack([*scores, copy]), truth, fold, metric=lrap)
    assert chosen.weights[2] > 0.1
    assert lrap(truth, P_copy) > lrap(truth, P) + 0.02


@pytest.mark.parametrize("noise", [1.0, 2.0, 3.0])
def test_members_with_information_are_kept(noise: float) -> None:
    for seed in range(20):
        scores, truth, _ = members(noises=(1.0, noise), seed=seed)
        assert informative(scores, truth).all()


def test_constant_and_reversed_members_are_left_out() -> None:
    scores, truth, _ = members()
    found = informative(np.stack([scores[0], np.full_like(scores[0], 0.5), 1 - scores[1]]), truth)
    assert found.tolist() == [True, False, False]


def test_members_are_kept_if_there_are_few_recordings() -> None:
    for seed in range(20):
        scores, truth, _ = members(n=8, seed=seed)
        assert informative(np.stack([*scores, random_scores(truth, seed)]), truth)[:2].all()
    assert informative(scores, np.zeros_like(truth)).all()


def test_all_members_are_kept_if_none_is_informative() -> None:
    _, truth, _ = members(n=400)
    noise = np.stack([random_scores(truth, seed) for seed in range(3)])
    assert informative(noise, truth).all()
