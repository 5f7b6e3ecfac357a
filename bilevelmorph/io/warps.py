"""Reading and writing of displacement fields, and their application to points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bilevelmorph.data.geometry import sample_field, transform_points
from bilevelmorph.data.volume import Volume, axial, check_affine
from bilevelmorph.errors import InputError, fail, one_of
from bilevelmorph.io.atomic import atomic_path, suffix
from bilevelmorph.io.claims import check_numpy
from bilevelmorph.io.headers import affine_of, check_nibabel, place, sheared
from bilevelmorph.io.itk import in_space, voxels_to_lps
from bilevelmorph.io.nifti import write_nifti

_ENDINGS = (".nii", ".nii.gz", ".npz")
WARP_FORMATS = ("voxelmorph", "itk")
# NIfTI intent codes of FSL's warps and spline coefficients, whose values have other meanings.
_FSL = range(2006, 2020)


def save_warp(
    path: str | Path, displacement: np.ndarray, affine: np.ndarray, form: str = "voxelmorph"
) -> None:
    """Write a displacement; the file appears whole or not at all.

    Args:
        path: File to write: nii, nii.gz or, for ``"voxelmorph"`` only, npz with the arrays
            `warp` and `affine`.
        displacement: ``[*S, N]`` voxels of its own grid, pull-back.
        affine: ``[4, 4]`` affine of that grid.
        form: ``"voxelmorph"`` writes displacements in voxels, ``[X, Y, Z, 3]``;
            ``"itk"`` writes millimetres along ITK's axes, ``[X, Y, Z, 1, 3]``, as ITK,
            ANTs and 3D Slicer read them.
    """
    one_of("warp_format", form, WARP_FORMATS)
    ending = one_of(f"ending of {path}", suffix(path), _ENDINGS)
    data = np.asarray(displacement, np.float32)
    if form == "itk" and ending == ".npz":
        raise fail(str(path), "npz for a warp of ITK's form", "nii or nii.gz")
    check_form(form, affine, path)
    with atomic_path(path) as temporary:
        if ending == ".npz":
            np.savez_compressed(temporary, warp=data, affine=affine)
            return
        if form == "itk":
            data = in_space(data, affine)
            data = (data @ voxels_to_lps(affine, data.shape[-1])).astype(np.float32)
            data = data.reshape(*data.shape[:-1], *[1] * (5 - data.ndim), data.shape[-1])
        elif data.shape[-1] == 2:
            data = data[:, :, None]
        image = place(nib.Nifti1Image(data, affine), affine)
        image.header.set_intent("vector", name="voxel displacement" if form == "voxelmorph" else "")
        write_nifti(temporary, image)


def check_form(form: str, affine: np.ndarray, name: str | Path) -> None:
    """Refuse a form in which a warp on a grid cannot be written.

    Args:
        form: ``"voxelmorph"`` or ``"itk"``.
        affine: ``[4, 4]`` affine of the grid.
        name: Name for messages.

    Raises:
        InputError: The axes of the grid are not perpendicular, which ITK refuses.

    >>> check_form("itk", np.eye(4), "warp.nii.gz")
    """
    if form == "itk" and sheared(np.asarray(affine, float)):
        came = "a grid whose axes are not perpendicular, for a warp of ITK's form, which ITK would refuse"
        raise fail(str(name), came, "voxelmorph's form", "or resample the fixed image")


def load_warp(
    path: str | Path, form: str = "auto", moving: Volume | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a displacement written by `save_warp`, or by ITK or ANTs, whose files have five axes.

    Args:
        path: File to read: nii, nii.gz or npz (including VoxelMorph's, with an array `vol`).
        form: ``"voxelmorph"`` or ``"itk"`` accepts only that form, ``"auto"`` both.
        moving: The image to warp. VoxelMorph's npz has no affine; its displacements
            belong to the grid of this image and must have the same size.

    Returns:
        The displacement, ``[*S, N]`` float32 voxels, and its ``[4, 4]`` affine.

    Raises:
        InputError: The file is not a warp of this form, or it is a warp of FSL or NiftyReg.
    """
    one_of("warp_format", form, ("auto", *WARP_FORMATS))
    path = Path(path)
    data, affine = _read(path)
    physical = data.ndim == 5 and data.shape[3] == 1
    if form != "auto" and physical != (form == "itk"):
        there = "itk" if physical else "voxelmorph"
        raise fail("warp_format", f"{form}, where {path} has {data.ndim} axes", f"{there}, or auto")
    if physical:
        data = data[:, :, :, 0]
    if data.ndim == 4 and data.shape[2] == 1 and data.shape[-1] == 2:
        data = data[:, :, 0]
    if data.ndim not in (3, 4) or data.shape[-1] != data.ndim - 1:
        shape = "x".join(map(str, data.shape))
        raise fail(str(path), f"an array of {shape}", "displacements X x Y x Z (x 1) x 3")
    if not np.issubdtype(data.dtype, np.floating) and not np.issubdtype(data.dtype, np.integer):
        raise fail(str(path), f"{data.dtype} values", "displacements")
    if not np.isfinite(data).all():
        raise fail(str(path), "NaN or infinite displacements", "finite ones")
    if affine is None:
        affine = _same_grid(path, data.shape[:-1], moving)
    check_affine(affine, str(path))
    if physical:
        data = data @ np.linalg.inv(voxels_to_lps(affine, data.shape[-1]))
        if data.ndim == 4 and data.shape[2] == 1 and not axial(affine):
            data = data[:, :, 0, :2]  # a slice in space, written by `in_space`
    return np.ascontiguousarray(data, np.float32), np.asarray(affine, float)


def load_start(path: str | Path, fixed: Volume) -> np.ndarray:
    """Read a displacement that has to lie on the grid of an image.

    Args:
        path: See `load_warp`.
        fixed: The image.

    Returns:
        ``[*S, N]`` float32 voxels.

    Raises:
        InputError: The file is not a warp, or one of another grid.
    """
    displacement, affine = load_warp(path, moving=fixed)
    apart = np.abs(np.linalg.inv(fixed.affine) @ affine - np.eye(4))[:3] @ [*(max(fixed.shape),) * 3, 1]
    if displacement.shape[:-1] != fixed.shape or apart.max() > 0.05:
        raise fail(str(path), "a warp of another grid", f"one on the grid of {fixed.name}")
    return displacement


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array and, if the file has one, its affine."""
    ending = one_of(f"ending of {path}", suffix(path), _ENDINGS)
    if not path.is_file():
        raise fail(str(path), "no such file", "a warp")
    try:
        if ending == ".npz":
            check_numpy(path)
            with np.load(path, allow_pickle=False) as content:
                names = content.files
                data = content["warp"] if "warp" in names else content["vol"]
                affine = content["affine"] if "affine" in names else None
                if not all(isinstance(x, (np.ndarray, type(None))) for x in (data, affine)):
                    raise ValueError("a member that is no array")
        else:
            image: Any = nib.load(path)
            check_nibabel(image, path)
            _check_intent(path, image.header)
            data, affine = np.asanyarray(image.dataobj), affine_of(image)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise fail(str(path), f"a file that cannot be read ({reason})", "a warp") from error
    return data, affine


def _check_intent(path: Path, header: Any) -> None:
    """Refuse warps written by programs with other conventions."""
    code = int(header["intent_code"]) if "intent_code" in header else 0
    name = bytes(header["intent_name"]).decode("latin-1").strip("\0 ") if "intent_name" in header else ""
    whose = "FSL" if code in _FSL else "NiftyReg" if name.startswith("NREG") else ""
    if whose:
        raise fail(
            str(path), f"a warp of {whose}", "a warp of bilevelmorph, ITK or ANTs", "convert it to ITK's form"
        )


def _same_grid(path: Path, shape: tuple[int, ...], moving: Volume | None) -> np.ndarray:
    if moving is None:
        return np.eye(4)
    if moving.shape != shape:
        came = f"displacements for {'x'.join(map(str, shape))} voxels without an affine"
        raise fail(str(path), came, f"those of {moving.name}, {'x'.join(map(str, moving.shape))}")
    return moving.affine


def warp_points(points: np.ndarray, displacement: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Map points of the fixed image to their positions in the moving image.

    Args:
        points: ``[P, N]`` world positions in millimetres, RAS; for 2-D displacements also ``[P, 3]``, which
            a plane other than that of x and y needs.
        displacement: ``[*S, N]`` voxels of its own grid, pull-back.
        affine: ``[4, 4]`` affine of that grid.

    Returns:
        ``[P, N]``, or ``[P, 3]``: world positions in millimetres, RAS.

    Raises:
        InputError: Two coordinates are not enough.

    >>> warp_points(np.array([[1.0, 1.0]]), np.ones([4, 4, 2], np.float32), np.eye(4)).tolist()
    [[2.0, 2.0]]
    """
    n, points = displacement.shape[-1], np.asarray(points, float)
    if points.shape[-1] == 2 and not axial(affine):
        raise fail("points", "x and y", "x, y and z, as the plane of this warp is another one")
    voxels = transform_points(np.linalg.inv(affine), points)
    voxels[:, :n] += sample_field(displacement, voxels[:, :n])
    return transform_points(affine, voxels)
