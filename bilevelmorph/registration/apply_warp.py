"""Application of an existing warp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bilevelmorph.data.geometry import warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import fail
from bilevelmorph.io.images import ImageLike, as_volume
from bilevelmorph.io.warps import load_warp
from bilevelmorph.registration.result import Registration


def warp(
    moving: ImageLike,
    by: Registration | str | Path | tuple[np.ndarray, np.ndarray],
    kind: str = "image",
    fill: float | None = None,
) -> Volume:
    """Warp an image or a label map onto the grid of a warp.

    Args:
        moving: See `register`.
        by: A `Registration`, a warp file, or ``(displacement, affine)``: ``[*S, N]``
            voxels and the ``[4, 4]`` affine of their grid.
        kind: ``"image"`` (linear interpolation) or ``"labels"`` (nearest neighbour); ignored
            if `moving` is a `Volume`, which has its own kind.
        fill: Value of what `moving` does not cover; by default 0 for label maps and that of the
            background for images.

    Returns:
        The moved volume; label maps keep their dtype.

    Raises:
        InputError: The number of dimensions differs, or the file is not a warp.

    >>> labels = (np.eye(8, dtype=np.uint8), np.eye(4))
    >>> warp(labels, (np.ones([8, 8, 2], np.float32), np.eye(4)), "labels").data[0, :3].tolist()
    [1, 0, 0]
    """
    volume = as_volume(moving, kind, "moving")
    if isinstance(by, Registration):
        displacement, grid = by.displacement, by.fixed.affine
    elif isinstance(by, tuple):
        displacement, grid = by
    else:
        displacement, grid = load_warp(by, moving=volume)
    if displacement.shape[-1] != volume.ndims:
        raise fail(
            "warp", f"{displacement.shape[-1]}-D displacements", f"{volume.ndims}-D ones, as {volume.name}"
        )
    return warp_volume(volume, displacement, grid, fill)
