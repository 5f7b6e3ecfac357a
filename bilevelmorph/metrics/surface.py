"""Distances between the surfaces of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def hausdorff95(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile of the distances between two surfaces, pooled over both directions.

    Args:
        a, b: Bool ``[*S]``.
        spacing: Voxel size along each axis in millimetres.

    Returns:
        Distance in millimetres; NaN if either mask is empty.

    >>> a = np.zeros([5, 5], bool); a[1, 1] = True
    >>> hausdorff95(a, np.roll(a, 2, 0), [1.5, 1.0])
    3.0
    """
    if not a.any() or not b.any():
        return float("nan")
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    a, b = (np.pad(x[box], 1) for x in (a, b))
    surface_a, surface_b = a & ~ndimage.binary_erosion(a), b & ~ndimage.binary_erosion(b)
    to_b = ndimage.distance_transform_edt(~surface_b, spacing)
    to_a = ndimage.distance_transform_edt(~surface_a, spacing)
    return float(np.percentile(np.concatenate([to_b[surface_a], to_a[surface_b]]), 95))


def mean_hausdorff95(a: np.ndarray, b: np.ndarray, spacing: Sequence[float], labels: Sequence[int]) -> float:
    """Mean of `hausdorff95` over the labels present in both maps.

    >>> m = np.array([[0, 1, 1], [0, 0, 0]])
    >>> mean_hausdorff95(m, m, [1, 1], [1])
    0.0
    """
    values = [hausdorff95(a == label, b == label, spacing) for label in labels]
    values = [v for v in values if not np.isnan(v)]
    return float(np.mean(values)) if values else float("nan")
