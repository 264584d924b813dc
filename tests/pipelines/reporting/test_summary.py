"""The top of the report, for a blend, a single member, one species, and data without test labels."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.data.dataset import load_dataset
from models.scoring.thresholds import Thresholds, ThresholdSteps
from pipelines.core.run_config import MEMBER
from pipelines.core.runs import Scores
from pipelines.reporting.contents import Contents
from pipelines.reporting.summary import ranking_sentence, summary_html, threshold_sentence

Y = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
"""Presence in the six training recordings."""


@pytest.fixture(scope="module")
def contents(trained: tuple[Path, Path]) -> Contents:
    return Contents.of(trained[1], load_dataset(trained[0]))


def scored(contents: Contents, best: np.ndarray, prior: np.ndarray) -> Contents:
    """Return the contents without test labels, with truth Y and other out-of-fold scores."""
    assert contents.prior is not None

    def of(P: np.ndarray) -> Scores:
        return replace(contents.prior.oof, scores=P.astype(float))  # type: ignore[union-attr]

    runs = {**contents.runs, contents.best: replace(contents.runs[contents.best], oof=of(best))}
    return replace(contents, split="train", known=Y, runs=runs, prior=replace(contents.prior, oof=of(prior)))


def with_thresholds(contents: Contents, threshold: Sequence[float], n_positive: Sequence[int]) -> Contents:
    steps = tuple(ThresholdSteps(np.ones(1), np.array([value])) for value in threshold)
    thresholds = Thresholds(steps, steps, np.array(n_positive))
    return replace(contents, detector=replace(contents.detector, thresholds=thresholds))


def test_blend_is_compared_with_prior(contents: Contents) -> None:
    # The present species is second in one recording: LRAP is (5 + 1 / 2) / 6. Equal scores of all species
    # give 1 / 3.
    P = np.where(np.arange(6)[:, None] == 5, [[0.1, 0.9, 0.5]], Y)
    sentence = ranking_sentence(scored(contents, P, np.full((6, 3), 0.5)))
    assert sentence.startswith(
        "The blend of gbm and gru was trained on 6 recordings with 6 boxed calls of 3 species and ranks the "
        "species in training recordings (scored out of fold) with a label ranking average precision (LRAP) "
        "of 0.917 (95 % interval 0."
    )
    assert sentence.endswith(
        "to 1.000; 1 is best), compared with 0.333 for the baseline prior, which does not use the audio."
    )


def test_single_member_is_named_and_its_test_labels_are_used(contents: Contents) -> None:
    detector = replace(contents.detector, members=contents.detector.members[:1])
    member = replace(contents, best="gbm", detector=detector, prior=None)
    assert member.runs["gbm"].kind == MEMBER
    assert ranking_sentence(member) == (
        "The model gbm was trained on 6 recordings with 6 boxed calls of 3 species and ranks the species in "
        "test recordings with a label ranking average precision (LRAP) of 1.000 (95 % interval 1.000 to "
        "1.000; 1 is best)."
    )


def test_one_species_is_measured_by_auc(contents: Contents) -> None:
    dataset = contents.dataset
    dataset = replace(dataset, tp=dataset.tp[dataset.tp["species_id"] == 2], train_labels=None)
    known = np.where([False, False, True], Y, 0.0)
    # Of nine pairs of a recording with and one without the species, one has the wrong order.
    P = np.where([False, False, True], np.array([[1, 2, 4, 3, 5, 6]]).T / 10, 0.0)
    one = replace(scored(contents, P, Y), dataset=dataset, known=known)
    assert ranking_sentence(one).endswith(
        " with 2 boxed calls of 3 species and ranks training recordings (scored out of fold) with the "
        "species above those without it with an AUC of 0.889 (1 is best, 0.5 is chance); LRAP is not used, "
        "because it compares several species."
    )


def test_test_recordings_without_a_species_give_no_ranking(contents: Contents) -> None:
    nothing = replace(contents, known=np.zeros((2, 3)))
    assert ranking_sentence(nothing).endswith(
        "its ranking cannot be measured, because the test recordings give nothing to rank."
    )


def test_thresholds_are_summarised_over_species(contents: Contents) -> None:
    # coqui: two reported, one of them right, recall 1; owl: never reported, recall 0; frog: both 1.
    P = Y * 0.8
    P[1, 0] = 0.9
    whole = scored(contents, P, Y)
    assert threshold_sentence(with_thresholds(whole, [0.8, 0.81, 0.8], [5, 4, 6])) == (
        "At the default thresholds, which aim at a precision of 0.7, mean precision is 0.75 over the "
        "species that are reported (2 of 3), and mean recall is 0.67 over the species that are present (3 of "
        "3); 1 of 3 thresholds cannot be verified, because fewer than 5 training recordings contain the "
        "species."
    )
    assert threshold_sentence(with_thresholds(whole, [1.0, 1.0, 1.0], [5, 5, 6])) == (
        "At the default thresholds, which aim at a precision of 0.7, no species is reported, and mean recall "
        "is 0.00 over the species that are present (3 of 3); all thresholds can be verified."
    )


def test_date_is_that_of_the_run(contents: Contents, tmp_path: Path) -> None:
    (tmp_path / "blend").mkdir()
    (tmp_path / "blend" / "oof.npz").touch()
    os.utime(tmp_path / "blend" / "oof.npz", (0, 1_700_000_000))
    html = summary_html(replace(contents, results=tmp_path), n_failed=2)
    weights = contents.detector.blend.weights
    model = f"blend ({weights[0]:.2f} gbm, {weights[1]:.2f} gru)"
    assert f"Results of 2023-11-14 22:13 UTC. Model: {model}, seed 0, python 3." in html
    assert "2 recordings could not be read." in html
