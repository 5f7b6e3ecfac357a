"""Paired statistics against SciPy, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bilevelmorph.benchmark.statistics import holm, paired_differences


def test_wilcoxon_is_that_of_scipy(rng):
    a, b = rng.normal(size=(2, 20))
    found = paired_differences({"a": a, "b": b}, "a")["b"]
    assert found.p == pytest.approx(stats.wilcoxon(b, a).pvalue)
    assert found.mean == pytest.approx((b - a).mean())
    assert found.low < found.mean < found.high


def test_the_interval_is_about_that_of_the_normal_distribution(rng):
    apart = rng.normal(0.02, 0.05, 400)
    found = paired_differences({"a": np.zeros(400), "b": apart}, "a")["b"]
    half = 1.96 * apart.std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_only_common_pairs_count():
    scores = {"a": [0.5, np.nan, 0.7, 0.9], "b": [0.6, 0.6, np.nan, 0.8], "c": [np.nan, np.nan, np.nan, 0.1]}
    found = paired_differences(scores, "a")
    assert found["b"].pairs == 2
    assert found["b"].mean == pytest.approx(0.0)
    assert "c" not in found


def test_the_same_seed_the_same_interval(rng):
    scores = {"a": rng.random(9), "b": rng.random(9)}
    assert paired_differences(scores, "a", 3) == paired_differences(scores, "a", 3)


def test_equal_scores():
    assert paired_differences({"a": [0.5, 0.6], "b": [0.5, 0.6]}, "a")["b"][1:] == (0, 0, 0, 1)


def test_holm_never_goes_below_what_came_before():
    found = holm({"a": 0.02, "b": 0.021, "c": 0.5})
    assert found == pytest.approx({"a": 0.06, "b": 0.06, "c": 0.5})
    assert max(holm({"a": 0.9, "b": 0.8}).values()) <= 1
