import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.common.errors import UserError
from features.frames.windows import (
    WindowSettings,
    label_windows,
    overlap_share,
    overlay_labels,
    window_starts,
)


@given(n_frames=st.integers(1, 2000), length=st.integers(1, 200), hop=st.integers(1, 200))
def test_windows_are_inside_the_recording_and_cover_it(n_frames: int, length: int, hop: int) -> None:
    hop = min(hop, length)
    starts = window_starts(n_frames, length, hop)
    n_hops = max(n_frames - 1, 1)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= hop).all()
    if n_hops >= length:
        assert starts[-1] + length == n_hops
    else:
        assert len(starts) == 1


def test_recording_that_the_grid_covers_has_no_additional_window() -> None:
    # 20 s at 50 frames per second are 1001 frames.
    assert window_starts(1001, 100, 50).tolist() == list(range(0, 901, 50))


def boxes(*rows: tuple[int, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=["species_id", "t_min", "t_max"], dtype=float)
    return table.astype({"species_id": int})


START = np.arange(0.0, 9.0, 1.0)
END = START + 2.0


def label(tp: pd.DataFrame, fp: pd.DataFrame, absent: tuple[int, ...] = ()) -> np.ndarray:
    is_absent = np.isin(np.arange(3), absent)
    return label_windows(START, END, tp=tp, fp=fp, absent=is_absent, min_overlap=0.5)


def test_tp_sets_1_fp_sets_0_and_the_rest_is_unknown() -> None:
    labels = label(boxes((0, 3.0, 3.8)), boxes((1, 5.0, 7.0)))
    assert np.flatnonzero(labels[:, 0] == 1).tolist() == [2, 3]
    assert np.flatnonzero(labels[:, 1] == 0).tolist() == [4, 5, 6]
    assert np.isnan(labels[:, 2]).all()
    assert np.nansum(labels) == 2


def test_tp_overrides_fp() -> None:
    labels = label(boxes((0, 3.0, 3.8)), boxes((0, 3.0, 3.8)))
    assert np.flatnonzero(labels[:, 0] == 1).tolist() == [2, 3]
    assert not (labels[:, 0] == 0).any()


def test_absent_species_is_0_in_every_window() -> None:
    labels = label(boxes((0, 3.0, 3.8)), boxes(), absent=(2,))
    assert (labels[:, 2] == 0).all()
    assert np.isnan(labels[0, 0])


def test_window_with_little_overlap_remains_unknown() -> None:
    # Of the box's 1.0 s, 0.2 s are in window 0 and nothing is in window 5.
    labels = label(boxes((0, 1.8, 2.8)), boxes())
    assert np.isnan(labels[0, 0])
    assert labels[1, 0] == 1
    assert labels[2, 0] == 1
    assert np.isnan(labels[5, 0])


def test_box_that_extends_past_the_end_is_cut_at_the_end() -> None:
    labels = label(boxes((0, 9.5, 30.0)), boxes())
    assert np.flatnonzero(labels[:, 0] == 1).tolist() == [8]


@given(
    t_min=st.floats(0, 9.9), duration=st.floats(0.01, 12), length=st.floats(0.5, 5), share=st.floats(0.1, 0.5)
)
def test_every_box_labels_a_window_if_windows_overlap_by_half(
    t_min: float, duration: float, length: float, share: float
) -> None:
    starts = window_starts(501, round(length * 50), round(length * 50 * share) or 1) / 50
    ends = np.minimum(starts + round(length * 50) / 50, 10.0)
    labels = label_windows(
        starts,
        ends,
        tp=boxes((1, t_min, min(t_min + duration, 10.0))),
        fp=boxes(),
        absent=np.zeros(2, bool),
        min_overlap=0.49,
    )
    assert (labels[:, 1] == 1).any()


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 5)), min_size=1, max_size=5))
def test_overlap_share_equals_slow_reference_implementation(spans: list[tuple[float, float]]) -> None:
    t_min = np.array([start for start, _ in spans])
    t_max = t_min + [duration for _, duration in spans]
    share = overlap_share(START, END, t_min=t_min, t_max=t_max)
    for w in range(len(START)):
        for b in range(len(spans)):
            overlap = max(0.0, min(END[w], t_max[b]) - max(START[w], t_min[b]))
            assert share[w, b] == pytest.approx(overlap / min(2.0, t_max[b] - t_min[b]), abs=1e-9)


@pytest.mark.parametrize(("length", "hop"), [(0, 1), (-2, 1), (2, 0), (2, 1.5), (float("nan"), 1), (1e6, 1)])
def test_invalid_length_or_hop_is_rejected(length: float, hop: float) -> None:
    with pytest.raises(UserError, match=r"window (length|hop) is .*must be above 0"):
        WindowSettings(length=length, hop=hop)


def test_overlay_has_the_species_of_both_windows() -> None:
    nan = np.nan
    Y = np.array([[1, 0, 0, nan, nan, 1]], np.float32)
    other = np.array([[0, 0, nan, nan, 1, nan]], np.float32)
    found = overlay_labels(Y, other)
    np.testing.assert_array_equal(found, [[1, 0, nan, nan, 1, 1]])
    assert found.dtype == np.float32
