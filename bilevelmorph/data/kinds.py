"""Whether voxels are intensities or labels."""

from __future__ import annotations

import numpy as np

from bilevelmorph.errors import argument, fail

# An image has more grey values than this.
FEW = 16
# Shares of neighbours of equal value, outside the background, below which voxels are
# intensities and above which they are labels.
IMAGE, LABELS = 0.3, 0.45


def kind_of(data: np.ndarray, name: str) -> str:
    """Whether an array holds intensities or labels, in whatever type they are stored.

    Labels are whole numbers, and those of neighbours are mostly equal, which grey values are
    not. The background, the value that occurs most often, is left out of the comparison.

    Args:
        data: ``[*S]`` voxels.
        name: Name for messages.

    Returns:
        ``"image"`` or ``"labels"``.

    Raises:
        InputError: The voxels may be either.

    >>> kind_of(np.repeat(np.arange(40.0), 12).reshape(80, 6), "atlas")
    'labels'
    >>> kind_of(np.arange(200).reshape(40, 5), "scan")
    'image'
    """
    if not np.isfinite(data).all() or (data != np.round(data)).any():
        return "image"
    values, counts = np.unique(data, return_counts=True)
    if len(values) <= FEW:
        return "labels"
    body = data != values[counts.argmax()]
    equal, compared = 0, 0
    for axis in range(data.ndim):
        here, there = (np.moveaxis(data, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
        inside = np.logical_or(*(np.moveaxis(body, axis, 0)[s] for s in (slice(1, None), slice(None, -1))))
        equal, compared = equal + int((here == there)[inside].sum()), compared + int(inside.sum())
    share = equal / max(compared, 1)
    if IMAGE < share < LABELS:
        came = f"voxels that may be labels or intensities ({share:.0%} of the neighbours are equal)"
        raise fail(name, came, f"{argument('kind')} labels, or {argument('kind')} image")
    return "labels" if share >= LABELS else "image"
