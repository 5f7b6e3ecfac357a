"""Displacements found on the grid of a network, taken to the voxels of the images."""

from __future__ import annotations

import numpy as np

from bilevelmorph.data.geometry import (
    integer_shift,
    map_grid,
    read_field,
    sample_field,
    transform_points,
    voxel_positions,
)
from bilevelmorph.data.volume import Volume


def to_native(step: np.ndarray | None, work: Volume, fixed: Volume, affine: np.ndarray) -> np.ndarray:
    """The whole map, including the linear part, as a displacement of the fixed image.

    Args:
        step: ``[*work, N]`` voxels of `work`; None for the linear part alone.
        work: The grid of the network.
        fixed: The fixed image.
        affine: ``[4, 4]`` matrix from world positions of the fixed to those of the moving image, mm.

    Returns:
        ``[*fixed, N]`` float32, voxels of the fixed grid.

    >>> fine, coarse = Volume(np.zeros([4, 4]), np.eye(4)), Volume(np.zeros([2, 2]), np.diag([2.0, 2, 1, 1]))
    >>> to_native(np.ones([2, 2, 2]), coarse, fine, np.eye(4))[0, 0].tolist()
    [2.0, 2.0]
    """
    to_work = np.linalg.inv(work.affine) @ fixed.affine
    shift = integer_shift(to_work, fixed.ndims)
    world = np.linalg.inv(fixed.affine) @ affine @ fixed.affine

    def part(rows: slice) -> np.ndarray:
        here = there = voxel_positions(fixed.shape, rows)
        if step is not None and shift is None:
            at = transform_points(to_work, here)
            at = at + sample_field(step, at)
            there = transform_points(np.linalg.inv(to_work), at)
        elif step is not None and shift is not None:
            there = here + read_field(step, shift, fixed.shape, rows)
        return (transform_points(world, there) - here).astype(np.float32)

    return map_grid(part, fixed.shape)


def inverse_to_native(
    back: np.ndarray | None, work: Volume, moving: Volume, affine: np.ndarray
) -> np.ndarray:
    """The inverse map, from the moving image to the fixed one, as a displacement of the moving image.

    Args:
        back: ``[*work, N]``, the inverse of the step of `to_native`; None for the linear part alone.
        work, affine: See `to_native`.
        moving: The moving image.

    Returns:
        ``[*moving, N]`` float32, voxels of the moving grid.

    >>> scan = Volume(np.zeros([4, 4]), np.eye(4))
    >>> inverse_to_native(np.ones([4, 4, 2]), scan, scan, np.eye(4))[0, 0].tolist()
    [1.0, 1.0]
    """
    to_work = np.linalg.inv(affine @ work.affine) @ moving.affine
    to_moving = np.linalg.inv(moving.affine) @ work.affine

    def part(rows: slice) -> np.ndarray:
        here = voxel_positions(moving.shape, rows)
        at = transform_points(to_work, here)
        if back is not None:
            at = at + sample_field(back, at)
        return (transform_points(to_moving, at) - here).astype(np.float32)

    return map_grid(part, moving.shape)


def linear_part(displacement: np.ndarray, fixed: Volume) -> np.ndarray:
    """The affine map that comes closest to a displacement, by least squares.

    Args:
        displacement: ``[*fixed, N]`` voxels of the fixed grid.
        fixed: The fixed image.

    Returns:
        ``[4, 4]`` matrix between the worlds of the fixed and the moving image, mm.

    >>> linear_part(np.ones((4, 4, 2)), Volume(np.zeros((4, 4)), np.diag([2.0, 2, 1, 1])))[:2, 3].tolist()
    [2.0, 2.0]
    """
    n = fixed.ndims
    steps = tuple(slice(None, None, max(1, size // 32)) for size in fixed.shape)
    here = voxel_positions(fixed.shape)[steps].reshape(-1, n).astype(np.float64)
    there = here + displacement[steps].reshape(-1, n)
    middle, target = here.mean(0), there.mean(0)
    linear = np.linalg.lstsq(here - middle, there - target, rcond=None)[0].T
    matrix = np.eye(4)
    matrix[:n, :n], matrix[:n, 3] = linear, target - linear @ middle
    whole = fixed.affine @ matrix @ np.linalg.inv(fixed.affine)
    return np.round(whole, 12)


def from_native(displacement: np.ndarray, work: Volume, fixed: Volume, affine: np.ndarray) -> np.ndarray:
    """The inverse of `to_native`.

    Args:
        displacement: ``[*fixed, N]``, the whole map, voxels of the fixed grid.
        work, fixed, affine: See `to_native`.

    Returns:
        ``[*work, N]`` float32, voxels of `work`, without the linear part.

    >>> fine, coarse = Volume(np.zeros([4, 4]), np.eye(4)), Volume(np.zeros([2, 2]), np.diag([2.0, 2, 1, 1]))
    >>> from_native(np.full([4, 4, 2], 2.0), coarse, fine, np.eye(4))[0, 0].tolist()
    [1.0, 1.0]
    """
    to_fixed = np.linalg.inv(fixed.affine) @ work.affine
    to_work = np.linalg.inv(affine @ work.affine) @ fixed.affine

    def part(rows: slice) -> np.ndarray:
        here = voxel_positions(work.shape, rows)
        at = transform_points(to_fixed, here)
        return (transform_points(to_work, at + sample_field(displacement, at)) - here).astype(np.float32)

    return map_grid(part, work.shape)
