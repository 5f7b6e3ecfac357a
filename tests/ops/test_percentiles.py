"""Percentiles against NumPy's, on rows that are hard to bisect."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.ops.percentiles import percentiles

PERCENTS = (0, 0.5, 37.5, 50, 99.5, 100)


def rows(kind, rng):
    x = rng.gamma(1, 300, (2, 5003)).astype(np.float32)
    changes = {
        "plain": x,
        "negative": -x,
        "background": np.where(rng.random(x.shape) < 0.6, 0, x),
        "whole": np.round(x),
        "outlier": np.where(np.arange(5003) == 7, np.float32(1e30), x),
        "flat": np.full_like(x, 5),
        "tiny": x * np.float32(1e-30),
        "two": np.where(rng.random(x.shape) < 0.005, 1, 0).astype(np.float32),
    }
    return changes[kind].astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["plain", "negative", "background", "whole", "outlier", "flat", "tiny", "two"]
)
def test_are_those_of_numpy(kind, rng):
    x = rows(kind, rng)
    expected = np.percentile(x.astype(np.float64), PERCENTS, axis=1).T
    np.testing.assert_allclose(percentiles(tf.constant(x), PERCENTS), expected, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_a_few(count, rng):
    x = rng.random((1, count)).astype(np.float32)
    expected = np.percentile(x, PERCENTS, axis=1).T
    np.testing.assert_allclose(percentiles(tf.constant(x), PERCENTS), expected, rtol=1e-5)


def test_rank_of_a_large_row():
    """Its ranks are beyond what float32 counts."""
    x = np.arange(2**25 + 3, dtype=np.float32)[None]
    expected = np.percentile(x[0].astype(np.float64), 99.5)
    assert percentiles(tf.constant(x), [99.5]).numpy()[0, 0] == pytest.approx(expected, abs=4)
