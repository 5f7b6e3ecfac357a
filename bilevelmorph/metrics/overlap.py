"""Overlap of label maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bilevelmorph.errors import fail


def dice(a: np.ndarray, b: np.ndarray, labels: Sequence[int] | None = None) -> dict[int, float]:
    """Dice overlap of each label.

    Args:
        a, b: Integer label maps of the same shape.
        labels: Labels to score; by default every non-zero value of either map.

    Returns:
        Overlap in [0, 1] by label; NaN for a label absent from both maps.

    >>> dice(np.array([0, 1, 1]), np.array([0, 1, 2]))
    {1: 0.6666666666666666, 2: 0.0}
    """
    if a.shape != b.shape:
        raise fail("label maps", f"shapes {a.shape} and {b.shape}", "one shape")
    if labels is None:
        labels = [int(v) for v in np.union1d(a, b) if v != 0]
    scores = {}
    for label in labels:
        in_a, in_b = a == label, b == label
        total = int(in_a.sum()) + int(in_b.sum())
        scores[int(label)] = 2 * int((in_a & in_b).sum()) / total if total else float("nan")
    return scores


def mean_dice(a: np.ndarray, b: np.ndarray, labels: Sequence[int] | None = None) -> float:
    """Mean Dice over the labels present in either map; background is excluded by default.

    >>> mean_dice(np.array([0, 1]), np.array([0, 1]))
    1.0
    """
    values = [v for v in dice(a, b, labels).values() if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
