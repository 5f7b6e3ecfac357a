"""What the displacement of a method is worth, computed in the same way for all methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.data.geometry import warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.warps import load_warp, warp_points
from bilevelmorph.metrics.deformation import jacobian_measures
from bilevelmorph.metrics.overlap import dice
from bilevelmorph.metrics.surface import mean_hausdorff95

# Points at which the consistency of both directions is measured, at most.
POINTS = 20_000


def read_displacement(path: str, fixed: Volume) -> np.ndarray:
    """The displacement that a method wrote.

    Args:
        path: Its path without the ending, ``.npy`` or ``.nii.gz``.
        fixed: The fixed image, on whose grid it must lie.

    Returns:
        ``[*S, N]`` float32, voxels.

    Raises:
        RuntimeError: There is none, or it is none of this grid; one line.
    """
    if Path(f"{path}.npy").is_file():
        found = np.load(f"{path}.npy", allow_pickle=False)
    elif Path(f"{path}.nii.gz").is_file():
        try:
            found, _ = load_warp(f"{path}.nii.gz", "itk")
        except InputError as error:
            raise RuntimeError(str(error)) from error
    else:
        raise RuntimeError("wrote no displacement")
    if found.shape != (*fixed.shape, fixed.ndims):
        raise RuntimeError(f"wrote a displacement of {found.shape}, not of {(*fixed.shape, fixed.ndims)}")
    if not np.issubdtype(found.dtype, np.number) or not np.isfinite(found).all():
        raise RuntimeError("wrote a displacement that is not finite")
    return found.astype(np.float32)


def scores_of(case: PreparedCase, displacement: np.ndarray, labels: Sequence[int] | None) -> dict[str, float]:
    """Overlap and distance of warped labels, distance of landmarks, and regularity.

    Args:
        case: The pair.
        displacement: ``[*S, N]`` voxels of the fixed grid.
        labels: Foreground labels; by default those in the pair.

    Returns:
        ``dice``, ``dice_LABEL`` and ``hd95_mm`` (nearest-neighbour interpolation), ``tre_mm``, each where
        the pair has what it needs; ``folding_percent``, ``log_jacobian_sd``.

    >>> image = Volume(np.eye(8), np.eye(4))
    >>> seg = Volume(np.eye(8, dtype=np.int32), np.eye(4), "labels")
    >>> scores_of(PreparedCase(image, image, seg, seg, None, True), np.zeros((8, 8, 2)), None)["dice"]
    1.0
    """
    row: dict[str, float] = {}
    if case.moving_labels is not None and case.fixed_labels is not None:
        moved = warp_volume(case.moving_labels, displacement, case.fixed.affine).data
        found = dice(moved, case.fixed_labels.data, labels)
        present = [value for value in found.values() if not np.isnan(value)]
        row["dice"] = float(np.mean(present)) if present else float("nan")
        row["hd95_mm"] = mean_hausdorff95(
            moved, case.fixed_labels.data, list(case.fixed.spacing), list(found)
        )
        row |= {f"dice_{label}": value for label, value in found.items()}
    if case.points is not None:
        moving, fixed = case.points
        there = warp_points(fixed, displacement, case.fixed.affine)
        row["tre_mm"] = float(np.linalg.norm(there[:, : moving.shape[1]] - moving, axis=1).mean())
    return row | jacobian_measures(displacement)


def inconsistency(case: PreparedCase, forward: np.ndarray, backward: np.ndarray) -> float:
    """How far from itself a point ends that is taken to the moving image and back.

    Args:
        case: The pair.
        forward: Displacement on the fixed grid, ``[*S, N]`` voxels.
        backward: Displacement of the swapped pair, on the moving grid.

    Returns:
        The mean distance over the body of the fixed image, in millimetres.

    >>> image = Volume(np.ones((8, 8)), np.eye(4))
    >>> case, one = PreparedCase(image, image, None, None, None, True), np.ones((8, 8, 2))
    >>> round(inconsistency(case, one, -one), 6)
    0.0
    """
    n = case.fixed.ndims
    body = np.argwhere(case.fixed.data > 0.05)
    body = body[:: max(1, len(body) // POINTS)]
    world = body @ case.fixed.affine[:n, :n].T + case.fixed.affine[:n, 3]
    there = warp_points(world, forward, case.fixed.affine)[:, :n]
    back = warp_points(there, backward, case.moving.affine)[:, :n]
    return float(np.linalg.norm(back - world, axis=1).mean())
