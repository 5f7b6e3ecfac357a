"""Preparation of intensities and grids for networks."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.slabs import over_slabs

PERCENTILES = (0.5, 99.5)


def normalise(data: np.ndarray, percentiles: Sequence[float] = PERCENTILES) -> np.ndarray:
    """Clip to two percentiles and scale to [0, 1]; invariant to positive rescaling of the input.

    Args:
        data: Any shape.
        percentiles: Lower and upper percentile.

    Returns:
        float32 of the same shape.

    >>> normalise(np.arange(5.0), (0, 100)).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    data = np.asarray(data)
    low, high = _percentiles(data, percentiles)
    if high <= low:
        low, high = float(data.min()), float(data.max())
    extent, out = max(high - low, 1e-300), np.empty(data.shape, np.float32)

    def scale(rows: slice) -> None:
        out[rows] = np.clip((data[rows].astype(np.float64) - low) / extent, 0, 1)

    over_slabs(scale, data.shape)
    return out


def _percentiles(data: np.ndarray, which: Sequence[float]) -> list[float]:
    """As `numpy.percentile` of the data in float64, without a copy of them in it."""
    ranks = [q / 100 * (data.size - 1) for q in which]
    near = sorted({i for rank in ranks for i in (int(rank), min(int(rank) + 1, data.size - 1))})
    sorted_there = np.partition(data, near, axis=None)
    found = []
    for rank in ranks:
        below, above = (float(sorted_there[i]) for i in (int(rank), min(int(rank) + 1, data.size - 1)))
        share = rank - int(rank)
        found.append(
            below + (above - below) * share if share < 0.5 else above - (above - below) * (1 - share)
        )
    return found


def background(data: np.ndarray) -> float:
    """The intensity of what surrounds the body, given to places that an image does not cover.

    It is the lower percentile of the normalisation, so that it moves and scales with the intensities: air in
    CT, whether in HU or not, and zero where the background is empty.

    >>> background(np.array([-1000.0, -1000.0, 40.0]))
    -1000.0
    """
    return float(np.percentile(data, PERCENTILES[0], method="lower"))


def to_canonical(volume: Volume) -> Volume:
    """Flip and permute the axes so that they lie nearest to R, A, S."""
    if volume.ndims == 2:
        return volume
    turn = nib.orientations.io_orientation(volume.affine)
    data = nib.orientations.apply_orientation(volume.data, turn)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(turn, volume.shape)
    return Volume(np.ascontiguousarray(data), affine, volume.kind, volume.name, None)


def crop_or_pad(volume: Volume, shape: Sequence[int]) -> Volume:
    """Crop or zero-pad equally on both sides to a shape, and update the affine.

    >>> crop_or_pad(Volume(np.ones([4, 4]), np.eye(4)), [6, 2]).affine[:2, 3].tolist()
    [-1.0, 1.0]
    """
    out = np.zeros(shape, volume.data.dtype)
    start = np.zeros(3)
    into, source = [], []
    for axis, (old, new) in enumerate(zip(volume.shape, shape, strict=True)):
        before = (new - old) // 2
        start[axis] = -before
        size = min(old, new)
        into.append(slice(max(before, 0), max(before, 0) + size))
        source.append(slice(max(-before, 0), max(-before, 0) + size))
    out[tuple(into)] = volume.data[tuple(source)]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Volume(out, affine, volume.kind, volume.name, None)
