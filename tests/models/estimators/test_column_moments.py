import numpy as np
import pytest

from models.estimators import column_moments
from models.estimators.column_moments import moments


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_moments_equal_those_of_numpy(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_moments, "BATCH", 64)
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 4)) * [1, 1e-2, 10, 0] + [0, 1000, -300, 7]).astype(dtype)
    weight = rng.uniform(0, 1, 300)
    values = X.astype(float)
    mean = np.average(values, axis=0, weights=weight)
    variance = np.average((values - mean) ** 2, axis=0, weights=weight)
    for found, expected in zip(moments(X, weight), (mean, variance), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments(X)[1], values.var(axis=0), rtol=1e-9, atol=1e-12)
