"""What is refused before a registration, and not after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import argument, fail

if TYPE_CHECKING:
    from bilevelmorph.networks.base import RegistrationNetwork


def check_pair(
    moving: Volume, fixed: Volume, network: RegistrationNetwork | None = None, *masks: Volume | None
) -> None:
    """Refuse images that cannot be registered with one another.

    Args:
        moving, fixed: The images.
        network: The model, if there is one.
        masks: Masks of either image.

    Raises:
        InputError: The dimensions, the planes of slices or the channels do not fit, or a mask is empty.

    >>> check_pair(Volume(np.eye(8), np.eye(4)), Volume(np.eye(9), np.eye(4)))
    """
    if moving.ndims != fixed.ndims:
        came = f"{moving.ndims}-D {moving.name} and {fixed.ndims}-D {fixed.name}"
        raise fail("pair", came, "both 2-D or both 3-D")
    if fixed.ndims == 2:
        across = (np.linalg.inv(moving.affine) @ fixed.affine)[2, :2]
        if np.abs(across).max() * max(fixed.shape) > 0.5:
            came = f"{moving.name} and {fixed.name}, slices of different planes"
            raise fail("pair", came, "slices of one plane")
    if network is not None and network.ndims != fixed.ndims:
        came = f"{fixed.ndims}-D images for a {network.ndims}-D model"
        raise fail("model", came, f"a {fixed.ndims}-D model", "train one or choose another")
    if network is not None and network.channels != 1:
        came = f"a model of {network.channels} channels"
        raise fail("model", came, "a model of one channel, like the images")
    for mask in masks:
        if mask is not None and not (mask.data > 0).any():
            raise fail(mask.name, "an empty mask", "at least one voxel above 0")


def check_start(start: np.ndarray, fixed: Volume, affine: str, last: bool) -> None:
    """Refuse a displacement from which instance optimisation cannot begin.

    Args:
        start: The displacement, ``[*fixed, N]`` voxels.
        fixed: The fixed image.
        affine: The linear step.
        last: Whether nothing would follow.

    Raises:
        InputError: It belongs to another grid, a linear step would replace it, or nothing would follow.

    >>> check_start(np.zeros((8, 8, 2)), Volume(np.eye(8), np.eye(4)), "none", False)
    """
    expected = (*fixed.shape, fixed.ndims)
    if start.shape != expected:
        came, wanted = ("x".join(map(str, shape)) for shape in (start.shape, expected))
        raise fail("start_warp", came, f"{wanted}, that of the fixed image")
    if affine != "none":
        raise fail("start_warp", f"{argument('affine', affine)} beside it", "one of the two")
    if last:
        came = f"{argument('quality', 'fast')} beside it, with which nothing follows"
        raise fail("start_warp", came, argument("quality", "best"))
