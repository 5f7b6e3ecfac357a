"""The part of a fixed image that a registration looks at."""

from __future__ import annotations

import numpy as np

from bilevelmorph.data.geometry import onto
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import fail


def region_of(fixed: Volume, mask: Volume | None = None, excluded: Volume | None = None) -> Volume | None:
    """One mask of a mask and of what is excluded, such as lesions that the moving image does not have.

    Args:
        fixed: The fixed image.
        mask: Mask of what counts; everything if None.
        excluded: Mask of what does not count; nothing if None.

    Returns:
        Label map on the grid of `fixed`, 1 where a voxel counts; `mask` itself if nothing is excluded.

    Raises:
        InputError: Nothing is left, or a mask does not lie on the voxels of `fixed`.

    >>> lesion = Volume(np.eye(2, dtype=np.uint8), np.eye(4), "labels")
    >>> region_of(Volume(np.ones([2, 2]), np.eye(4)), None, lesion).data.tolist()
    [[0, 1], [1, 0]]
    """
    if excluded is None:
        return mask
    kept = onto(excluded, fixed).data <= 0
    if mask is not None:
        kept &= onto(mask, fixed).data > 0
    if not kept.any():
        raise fail(excluded.name, "a mask that leaves nothing", "at least one voxel that counts")
    return fixed.with_data(kept.astype(np.uint8), "labels")
