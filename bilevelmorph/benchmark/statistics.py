"""Paired statistics of the scores of two methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000


class PairedDifference(NamedTuple):
    """How a method differs from another on the same pairs.

    Attributes:
        pairs: Number of pairs that both registered.
        mean: Mean difference.
        low, high: 95 % bootstrap interval of the mean.
        p: Wilcoxon's signed-rank test, two-sided, corrected with `holm`.

    >>> PairedDifference(20, 0.012, 0.004, 0.021, 0.01).low
    0.004
    """

    pairs: int
    mean: float
    low: float
    high: float
    p: float


def paired_differences(
    scores: Mapping[str, Sequence[float]], reference: str, seed: int = 0
) -> dict[str, PairedDifference]:
    """Compare every method with one of them.

    Args:
        scores: One value per pair for each method, NaN where it has none.
        reference: The method to subtract.
        seed: Seed of the bootstrap.

    Returns:
        The differences of the other methods, those with fewer than two common pairs left out.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Wilcoxon, Biometrics Bulletin 1945.

    >>> found = paired_differences({"a": [0.8, 0.7, 0.9], "b": [0.7, 0.6, 0.8]}, "a")["b"]
    >>> found.pairs, round(found.mean, 3), round(found.low, 3)
    (3, -0.1, -0.1)
    """
    from scipy import stats

    base, found, p_values = np.array(scores[reference], float), {}, {}
    for name, values in scores.items():
        apart = np.array(values, float) - base
        apart = apart[~np.isnan(apart)]
        if name == reference or len(apart) < 2:
            continue
        drawn = np.random.default_rng(seed).integers(0, len(apart), (RESAMPLES, len(apart)))
        means = apart[drawn].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        p_values[name] = float(stats.wilcoxon(apart).pvalue) if apart.any() else 1.0
        found[name] = PairedDifference(
            len(apart), float(apart.mean()), float(low), float(high), p_values[name]
        )
    corrected = holm(p_values)
    return {name: value._replace(p=corrected[name]) for name, value in found.items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for the number of comparisons.

    Reference:
        Holm, Scandinavian Journal of Statistics 6, 1979.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    out: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        out[name] = largest
    return out
