"""Transforms in the formats of ITK, ANTs and 3D Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from bilevelmorph.data.geometry import transform_points, voxel_positions
from bilevelmorph.data.volume import axial
from bilevelmorph.errors import fail, one_of
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.claims import check_mat
from bilevelmorph.io.hdf5 import datasets
from bilevelmorph.io.simpleitk import silent

if TYPE_CHECKING:
    import SimpleITK

ENDINGS = (".txt", ".mat", ".tfm")


def save_itk_affine(path: str | Path, matrix: np.ndarray, ndims: int = 3) -> None:
    """Write a world matrix as an ITK affine transform.

    Args:
        path: File to write: txt, mat or tfm.
        matrix: ``[4, 4]``, fixed to moving, millimetres, RAS.
        ndims: 2 or 3.
    """
    import SimpleITK

    one_of(f"ending of {path}", Path(path).suffix.lower(), ENDINGS)
    with atomic_path(path) as temporary:
        SimpleITK.WriteTransform(_affine_transform(matrix, ndims), str(temporary))


def _affine_transform(matrix: np.ndarray, ndims: int) -> SimpleITK.AffineTransform:
    import SimpleITK

    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ np.asarray(matrix, float) @ flip
    transform = SimpleITK.AffineTransform(ndims)
    transform.SetMatrix(lps[:ndims, :ndims].ravel().tolist())
    transform.SetTranslation(lps[:ndims, 3].tolist())
    return transform


def save_itk_composite(
    path: str | Path, displacement: np.ndarray, affine: np.ndarray, linear: np.ndarray
) -> None:
    """Write a whole map as one ITK composite transform: a displacement field, then the linear part.

    Args:
        path: File to write: h5.
        displacement: ``[*S, N]`` voxels of its own grid, pull-back, including the linear part.
        affine: ``[4, 4]`` affine of that grid, millimetres, RAS.
        linear: ``[4, 4]``, the linear part, from the world of that grid to the world it leads to.
    """
    import SimpleITK

    one_of(f"ending of {path}", Path(path).suffix.lower(), (".h5",))
    displacement, affine = in_space(displacement, affine), np.asarray(affine, float)
    here = voxel_positions(displacement.shape[:-1]).astype(float)
    # What is left of the map once the linear part is undone, in voxels of the same grid.
    undo = np.linalg.inv(np.asarray(linear, float) @ affine) @ affine
    rest = displacement_transform(transform_points(undo, here + displacement) - here, affine)
    # ITK applies the last transform first.
    whole = SimpleITK.CompositeTransform([_affine_transform(linear, displacement.shape[-1]), rest])
    with atomic_path(path) as temporary:
        SimpleITK.WriteTransform(whole, str(temporary))


def load_itk_affine(path: str | Path) -> np.ndarray:
    """Read an ITK linear transform (rigid, similarity, affine).

    Args:
        path: File to read.

    Returns:
        ``[4, 4]``, fixed to moving, millimetres, RAS.

    Raises:
        InputError: The file does not hold one linear transform.
    """
    import SimpleITK

    if not Path(path).is_file():
        raise fail(str(path), "no such file", "an ITK transform")
    try:
        if Path(path).suffix.lower() in (".h5", ".hdf5", ".hdf"):
            with h5py.File(path, "r") as file:
                for _, values in datasets(file, path):
                    _ = values[()]  # h5py notices names of transforms that are not there, ITK does not
        if Path(path).suffix.lower() == ".mat":
            check_mat(Path(path))
        with silent():
            transform = SimpleITK.ReadTransform(str(path))
    except (RuntimeError, UnicodeDecodeError, OSError, KeyError) as error:
        raise fail(str(path), "a file that ITK cannot read", "an ITK transform") from error
    if not transform.IsLinear():
        raise fail(str(path), f"a {transform.GetName()}", "a linear transform")
    ndims = transform.GetDimension()
    origin = np.array(transform.TransformPoint([0.0] * ndims))
    columns = [np.array(transform.TransformPoint(e)) - origin for e in np.eye(ndims).tolist()]
    lps = np.eye(4)
    lps[:ndims, :ndims] = np.stack(columns, 1)
    lps[:ndims, 3] = origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip


def displacement_transform(
    displacement: np.ndarray, affine: np.ndarray
) -> SimpleITK.DisplacementFieldTransform:
    """Convert a displacement to a SimpleITK transform.

    Args:
        displacement: ``[*S, N]`` voxels of its own grid, pull-back.
        affine: ``[4, 4]`` affine of that grid, millimetres, RAS.

    Returns:
        The map from points of the fixed image to points of the moving image, millimetres, LPS.
    """
    import SimpleITK

    displacement = in_space(displacement, affine)
    n = displacement.shape[-1]
    lps = np.asarray(displacement, float) @ voxels_to_lps(affine, n)
    # The axes of SimpleITK's arrays are in reverse order.
    axes = (*reversed(range(n)), n)
    field = SimpleITK.GetImageFromArray(np.ascontiguousarray(lps.transpose(axes)), isVector=True)
    flip = np.diag([-1.0, -1.0, 1.0])
    matrix = flip @ np.asarray(affine, float)[:3, :3]
    spacing = np.sqrt((matrix**2).sum(0))
    field.SetSpacing(spacing[:n].tolist())
    field.SetOrigin((flip @ np.asarray(affine, float)[:3, 3])[:n].tolist())
    field.SetDirection((matrix / spacing)[:n, :n].ravel().tolist())
    return SimpleITK.DisplacementFieldTransform(field)


def in_space(displacement: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A 2-D displacement in a plane other than that of x and y as one slice of a 3-D one, for ITK.

    >>> in_space(np.ones([4, 5, 2]), np.eye(4)[[0, 2, 1, 3]]).shape
    (4, 5, 1, 3)
    """
    if displacement.shape[-1] == 3 or axial(affine):
        return displacement
    return np.pad(displacement, [(0, 0), (0, 0), (0, 1)])[:, :, None]


def voxels_to_lps(affine: np.ndarray, ndims: int) -> np.ndarray:
    """``[N, N]`` matrix that maps row vectors from voxels to millimetres along L, P, S."""
    flip = np.diag([-1.0, -1.0, 1.0][:ndims])
    return (flip @ np.asarray(affine, float)[:ndims, :ndims]).T
