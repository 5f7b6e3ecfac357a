"""What is kept of a registration to draw it: one slice of it, and perhaps small volumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.data.geometry import resample, warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.metrics.deformation import jacobian_determinant

# Volumes are thinned to at most so many voxels along each axis.
_VOLUME = 128


def save_look(path: Path, case: PreparedCase, displacement: np.ndarray, volumes: bool = False) -> None:
    """Write the slice through the middle of the fixed body, of all that is drawn.

    Args:
        path: npz file to write; arrays ``[X, Y]``: ``fixed``, ``moving`` and ``moved`` in 255ths,
            ``fixed_labels`` and ``moved_labels``, ``jacobian``, and ``grid`` ``[X, Y, 2]``, the
            displacement within the slice in voxels.
        case: The pair.
        displacement: ``[*S, N]`` voxels.
        volumes: Also keep ``fixed_volume``, ``moving_volume``, ``moved_volume`` and their ``affine``.
    """
    fixed, n = case.fixed, case.fixed.ndims
    before = resample(case.moving, fixed.shape, fixed.affine, np.eye(4)).data
    moved = warp_volume(case.moving, displacement, fixed.affine).data
    images = {"fixed": fixed.data, "moving": before, "moved": moved}
    out: dict[str, Any] = slices(fixed.data, images, displacement)
    if case.moving_labels is not None and case.fixed_labels is not None:
        warped: Volume = warp_volume(case.moving_labels, displacement, fixed.affine)
        cut = _middle(fixed.data)
        out |= {"fixed_labels": case.fixed_labels.data[cut], "moved_labels": warped.data[cut]}
    if volumes and n == 3:
        step = max(1, -(-max(fixed.shape) // _VOLUME))
        thin = (slice(None, None, step),) * 3
        out |= {f"{name}_volume": _grey(data[thin]) for name, data in images.items()}
        out["affine"] = fixed.affine @ np.diag([step, step, step, 1.0])
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **out)


def slices(
    fixed: np.ndarray, images: Mapping[str, np.ndarray], displacement: np.ndarray
) -> dict[str, np.ndarray]:
    """The slice through the middle of the body, of images and of a displacement.

    Args:
        fixed: The fixed image, ``[*S]``, which says where the body is.
        images: Images on its grid, in [0, 1].
        displacement: ``[*S, N]`` voxels.

    Returns:
        Each image in 255ths, ``jacobian`` and ``grid``, see `save_look`.

    >>> found = slices(np.ones((8, 6, 4)), {"moved": np.ones((8, 6, 4))}, np.zeros((8, 6, 4, 3)))
    >>> found["moved"].shape, found["grid"].shape
    ((8, 6), (8, 6, 2))
    """
    cut = _middle(fixed)
    out = {name: _grey(data[cut]) for name, data in images.items()}
    out["jacobian"] = jacobian_determinant(displacement)[cut].astype(np.float16)
    out["grid"] = displacement[(*cut, slice(0, 2))].astype(np.float16)
    return out


def _middle(fixed: np.ndarray) -> tuple[slice | int, ...]:
    """The index of the slice through the middle of the body; of a 2-D image, all of it."""
    if fixed.ndim == 2:
        return (slice(None), slice(None))
    body = np.argwhere(fixed > 0.1)
    return (slice(None), slice(None), int(body[:, 2].mean()) if len(body) else fixed.shape[2] // 2)


def _grey(data: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(data, 0, 1)).astype(np.uint8)
