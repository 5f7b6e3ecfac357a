"""Similarity of two images, in NumPy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bilevelmorph.slabs import VOXELS, over_slabs, with_margin


def local_correlation(
    a: np.ndarray,
    b: np.ndarray,
    mask: np.ndarray | None = None,
    width: int = 9,
    known: np.ndarray | None = None,
) -> float:
    """Mean squared local correlation, the counterpart of the loss `LocalNCC`.

    Args:
        a, b: ``[*S]``, intensities of order one.
        mask: Bool ``[*S]``; restricts the mean, by default to windows in which `a` varies.
        width: Window width in voxels.
        known: Bool ``[*S]``: where both images are known; the others are in no window.

    Returns:
        From 0 (unrelated) to 1 (linearly related in every window).

    >>> x = np.random.default_rng(0).normal(size=(9, 9))
    >>> round(local_correlation(x, 2 * x + 1), 3)
    1.0
    """
    total = np.zeros(2)
    for part in over_slabs(lambda rows: _of_slab(a, b, mask, width, known, rows), a.shape, 4 * VOXELS):
        total += part
    return float(total[0] / total[1]) if total[1] else 0.0


def _of_slab(
    a: np.ndarray,
    b: np.ndarray,
    mask: np.ndarray | None,
    width: int,
    known: np.ndarray | None,
    rows: slice,
) -> tuple[float, int]:
    """Sum of the squared correlations of a slab, and their number."""
    wide, own = with_margin(rows, width // 2, len(a))
    # SciPy sums in double precision whatever the type of the arrays.
    a, b = np.asarray(a[wide], np.float32), np.asarray(b[wide], np.float32)
    mask, known = (None if x is None else np.asarray(x, bool)[wide] for x in (mask, known))
    if known is not None and not known.all():
        weight = ndimage.uniform_filter(known.astype(np.float32), width, mode="nearest")
        weight = np.maximum(weight, np.float32(1e-9))
        a, b = a * known, b * known
    else:
        known, weight = np.ones(a.shape, bool), np.ones((), np.float32)

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(x, width, mode="nearest") / weight

    mean_a, mean_b = mean(a), mean(b)
    variance_a = np.maximum(mean(a * a) - mean_a**2, 0)
    variance_b = np.maximum(mean(b * b) - mean_b**2, 0)
    cross = mean(a * b) - mean_a * mean_b
    correlation = cross**2 / (variance_a * variance_b + 1e-8)
    inside = (variance_a > 1e-5 if mask is None else mask) & known
    values = correlation[own][inside[own]]
    return float(values.sum(dtype=np.float64)), values.size
