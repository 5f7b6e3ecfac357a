"""What is kept of a registration to draw it: one slice of it, and perhaps small volumes."""

from __future__ import annotations

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
    cut: tuple[slice | int, ...] = (slice(None), slice(None))
    if n == 3:
        body = np.argwhere(fixed.data > 0.1)
        cut = (*cut, int(body[:, 2].mean()) if len(body) else fixed.shape[2] // 2)
    before = resample(case.moving, fixed.shape, fixed.affine, np.eye(4)).data
    moved = warp_volume(case.moving, displacement, fixed.affine).data
    out: dict[str, Any] = {
        name: _grey(data[cut]) for name, data in (("fixed", fixed.data), ("moving", before), ("moved", moved))
    }
    if case.moving_labels is not None and case.fixed_labels is not None:
        warped: Volume = warp_volume(case.moving_labels, displacement, fixed.affine)
        out |= {"fixed_labels": case.fixed_labels.data[cut], "moved_labels": warped.data[cut]}
    out["jacobian"] = jacobian_determinant(displacement)[cut].astype(np.float16)
    out["grid"] = displacement[(*cut, slice(0, 2))].astype(np.float16)
    if volumes and n == 3:
        step = max(1, -(-max(fixed.shape) // _VOLUME))
        thin = (slice(None, None, step),) * 3
        named = {"fixed": fixed.data, "moving": before, "moved": moved}
        out |= {f"{name}_volume": _grey(data[thin]) for name, data in named.items()}
        out["affine"] = fixed.affine @ np.diag([step, step, step, 1.0])
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **out)


def _grey(data: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(data, 0, 1)).astype(np.uint8)
