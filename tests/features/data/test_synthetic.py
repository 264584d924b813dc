"""The embedded data set is deterministic and valid, and its bands and durations agree with those of RFCX."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.signal

from features.data.dataset import load_dataset
from features.data.synthetic import CALLS, KINDS, SyntheticSettings, confusers, render_call, write_dataset
from tests.conftest import load

SMALL = SyntheticSettings(n_train=16, n_test=6, duration=12.0, n_train_sites=4, n_test_sites=2)
FEW = replace(SMALL, n_train=4, n_test=2, duration=8.0)


def hashes(root: Path) -> dict[str, str]:
    """Return the SHA-256 hash of each file."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_content_depends_on_the_seed_but_not_on_the_number_of_threads(tmp_path: Path) -> None:
    one = hashes(write_dataset(tmp_path / "one", 1, FEW))
    two = hashes(write_dataset(tmp_path / "two", 2, FEW))
    other = hashes(write_dataset(tmp_path / "other", 2, replace(FEW, seed=1)))
    assert one == two
    assert one["train/train0000.flac"] != other["train/train0000.flac"]


def test_data_set_is_written_again_only_if_settings_change(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 1, FEW)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_dataset(root, 1, FEW)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times
    write_dataset(root, 1, replace(FEW, n_train=5))
    assert len(load_dataset(root).train) == 5


def test_data_set_is_valid_and_has_the_properties_in_its_settings(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path / "data", 2, SMALL))
    assert dataset.n_species == 24
    assert len(dataset.train) == 16
    assert len(dataset.test) == 6
    assert dataset.train_labels is None  # not all calls have a box, as in real data
    assert dataset.test_labels is not None
    assert len(np.unique(dataset.groups)) == 4
    assert len(dataset.fp) == 16 * 6
    assert (dataset.tp["t_max"] <= 12).all()
    y, _ = load(dataset.train["train0000"])
    assert len(y) == 12 * 32_000
    assert np.abs(y).max() == pytest.approx(0.9, abs=1e-3)
    assert np.bincount(dataset.tp["species_id"], minlength=24).min() >= 2
    n_species = dataset.tp.groupby("recording_id")["species_id"].nunique()
    assert (n_species == 3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_call_is_in_its_band(kind: str) -> None:
    rng = np.random.default_rng(0)
    for call in (c for c in CALLS if c.kind == kind):
        y = render_call(call, 32_000, rng)
        assert 0.8 * call.duration <= len(y) / 32_000 <= call.duration
        assert np.mean(y**2) == pytest.approx(1)
        frequency, power = scipy.signal.welch(y, 32_000, nperseg=2048)
        inside = (frequency >= call.fmin - 50) & (frequency <= call.fmax + 50)
        assert power[inside].sum() / power.sum() > 0.9


def test_calls_of_individuals_and_confusers_differ() -> None:
    rng = np.random.default_rng(0)
    call = CALLS[0]
    first, second = render_call(call, 32_000, rng), render_call(call, 32_000, rng)
    n = min(len(first), len(second))
    assert abs(np.corrcoef(first[:n], second[:n])[0, 1]) < 0.5
    for species, call in enumerate(CALLS):
        other_kind, other_rate = confusers(species)
        assert other_kind.kind != call.kind
        assert other_rate.rate > 1.5 * call.rate
        for confuser in (other_kind, other_rate):
            assert (confuser.fmin, confuser.fmax) == (call.fmin, call.fmax)


def test_bands_and_durations_equal_the_medians_of_rfcx(shared_data: Path) -> None:
    boxes = pd.read_csv(shared_data / "rfcx-annotations" / "train_tp.csv")
    boxes["duration"] = boxes["t_max"] - boxes["t_min"]
    # Two species have two song types; `CALLS` contains the first.
    medians = (
        boxes[(boxes["songtype_id"] == 1) | (boxes["species_id"] == 16)]
        .groupby("species_id")
        .median(numeric_only=True)
    )
    for species, call in enumerate(CALLS):
        assert call.fmin == pytest.approx(medians.loc[species, "f_min"], abs=1)
        assert call.fmax == pytest.approx(medians.loc[species, "f_max"], abs=1)
        assert call.duration == pytest.approx(medians.loc[species, "duration"], abs=0.01)
