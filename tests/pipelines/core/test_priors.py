"""The flag `--prior`: none, estimated, or read from a table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.data.tables import DatasetError
from models.scoring.prevalence import estimate_prevalence
from pipelines.core.priors import MAX_PREVALENCE, MIN_PREVALENCE, prevalence_rule, write_prevalence
from tests.conftest import ROOT

SPECIES = ("coqui", "owl", "frog")
P = np.array([[0.9, 0.2, 0.5], [0.8, 0.1, 0.4]])


def test_none_has_no_rule() -> None:
    assert prevalence_rule("none", SPECIES) is None


def test_estimate_uses_the_scores() -> None:
    rule = prevalence_rule("estimate", SPECIES)
    assert rule is not None
    np.testing.assert_array_equal(rule(P, 0.3), estimate_prevalence(P, 0.3))


def test_table_is_read_by_name_or_number_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "prior.csv"
    file.write_text("species,prevalence\nfrog,0\ns1,0.25\ncoqui,1\n")
    rule = prevalence_rule(str(file), SPECIES)
    assert rule is not None
    assert rule(P, 0.3).tolist() == [MAX_PREVALENCE, 0.25, MIN_PREVALENCE]


def test_written_table_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "prior.csv"
    write_prevalence(file, SPECIES, np.array([0.5, 0.12345, 0.25]))
    rule = prevalence_rule(str(file), SPECIES)
    assert rule is not None
    np.testing.assert_allclose(rule(P, 0.3), [0.5, 0.1234, 0.25], atol=1e-4)


def test_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv: file not found"):
        prevalence_rule(str(tmp_path / "nowhere.csv"), SPECIES)


def test_rfcx_table_has_24_species() -> None:
    table = pd.read_csv(ROOT / "pipelines" / "rfcx_prevalence.csv")
    assert list(table["species"]) == [f"s{k}" for k in range(24)]
    assert table["prevalence"].loc[[3, 18, 19]].tolist() == [0.923, 0.474, 0.004]
