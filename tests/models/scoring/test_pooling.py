import numpy as np
import pytest

from models.scoring.pooling import POOLINGS, pool

FIRST = np.array([0, 1, 3, 8])
P = np.random.default_rng(0).random((12, 4))
REFERENCES = {
    "max": lambda windows: windows.max(axis=0),
    "mean": lambda windows: windows.mean(axis=0),
    "top2": lambda windows: np.array([np.mean(sorted(column)[-2:]) for column in windows.T]),
    "top3": lambda windows: np.array([np.mean(sorted(column)[-3:]) for column in windows.T]),
}


@pytest.mark.parametrize("how", POOLINGS)
def test_pooling_equals_slow_reference(how: str) -> None:
    expected = [REFERENCES[how](windows) for windows in np.split(P, FIRST[1:])]
    np.testing.assert_allclose(pool(P, FIRST, how), expected)


def test_unknown_pooling_is_rejected() -> None:
    with pytest.raises(ValueError, match="unknown pooling 'median'; use one of max"):
        pool(P, FIRST, "median")
