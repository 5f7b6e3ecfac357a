"""What NIfTI headers say about the place of a grid, and what is uncertain about it."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bilevelmorph.errors import fail
from bilevelmorph.io.claims import PACKED, check_claim

# Millimetres in one unit of `xyzt_units`.
_MILLIMETRES = {"meter": 1e3, "micron": 1e-3}
# Code of positions in the scanner's frame, in which alone ITK prefers a sform.
_SCANNER = 1
# Distance in voxels by which sform and qform may differ because they are stored in single precision.
_ROUNDING = 0.02


def affine_of(image: Any) -> np.ndarray:
    """The affine of a nibabel image in millimetres, whatever the unit of its header.

    Args:
        image: A nibabel image.

    Returns:
        ``[4, 4]``, voxels to RAS millimetres.

    >>> image = nib.Nifti1Image(np.zeros([2, 2, 2], np.float32), np.diag([25.0, 25.0, 25.0, 1.0]))
    >>> image.header.set_xyzt_units("micron")
    >>> affine_of(image).diagonal().tolist()
    [0.025, 0.025, 0.025, 1.0]
    """
    affine = np.array(image.affine, float)
    affine[:3] *= _MILLIMETRES.get(_unit(image.header), 1.0)
    return affine


def check_nibabel(image: Any, path: Path) -> None:
    """Refuse a header that claims more voxels than its file can hold, before memory is taken for them."""
    proxy = image.dataobj
    if not nib.is_proxy(proxy) or not hasattr(proxy, "dtype"):
        return
    shape = [int(n) for n in proxy.shape]
    if min(shape, default=1) < 0:
        raise fail(str(path), f"a header of {'x'.join(map(str, shape))} voxels", "a whole file")
    claimed = math.prod(shape) * proxy.dtype.itemsize
    part = image.file_map.get("image")
    file = Path(part.filename if part is not None and part.filename else path)
    packed = file.suffix.lower() in (".gz", ".bz2", ".zst", ".mgz")
    check_claim(path, claimed, file.stat().st_size, PACKED if packed else 1, "voxels")


def doubts(header: Any, name: str) -> list[str]:
    """What a reader should know about how a header was understood.

    Args:
        header: Header of a nibabel image, of which those of NIfTI and Analyze files raise doubts; or
            a mapping with ``doubts``.
        name: Name of the file.

    Returns:
        A sentence for each doubt.

    >>> image = nib.Nifti1Image(np.zeros([2, 2, 2], np.float32), np.eye(4))
    >>> image.header.set_xyzt_units("meter")
    >>> doubts(image.header, "a.nii")
    ['a.nii is in metres; they were converted to millimetres']
    """
    if isinstance(header, dict):
        return [f"{name} {text}" for text in header.get("doubts", [])]
    if isinstance(header, nib.AnalyzeHeader) and not isinstance(header, nib.Nifti1Header):
        said = "is an Analyze file, which does not tell left from right"
        return [f"{name} {said}; as nibabel does, its first axis was taken to point left"]
    if not isinstance(header, nib.Nifti1Header):
        return []
    found = []
    unit = _unit(header)
    if unit in _MILLIMETRES:
        word = {"meter": "metres", "micron": "micrometres"}[unit]
        found.append(f"{name} is in {word}; they were converted to millimetres")
    (sform, s_code), (qform, q_code) = header.get_sform(coded=True), header.get_qform(coded=True)
    if not s_code and not q_code:
        found.append(
            f"{name} has neither sform nor qform, so its orientation is unknown; as nibabel does, its middle "
            "was taken for 0 and its first axis to point left, where ITK takes its first voxel for 0"
        )
    elif s_code and q_code:
        apart = _apart(sform, qform, header.get_data_shape()) * _MILLIMETRES.get(unit, 1.0)
        if apart > _ROUNDING * np.abs(header.get_zooms()[:3]).max():
            found.append(
                f"sform and qform of {name} differ by up to {apart:.3g} mm; the sform was taken, as by "
                f"nibabel; ITK takes the {'sform' if s_code == _SCANNER else 'qform'}"
            )
    if sheared(header.get_best_affine()):
        found.append(f"the axes of {name} are not perpendicular; ITK refuses such files")
    return found


def sheared(affine: np.ndarray) -> bool:
    """Whether the axes of a grid are not perpendicular to each other.

    >>> sheared(np.diag([1.0, 2.0, 3.0, 1.0]))
    False
    """
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(columns.T @ columns - np.eye(3)).max() > 1e-3)


def place(image: nib.Nifti1Image, affine: np.ndarray, header: Any = None) -> nib.Nifti1Image:
    """Write the affine of an image into both its sform and its qform, so that every program finds it.

    Args:
        image: Image to change.
        affine: ``[4, 4]``, voxels to RAS millimetres.
        header: Header whose code says what the positions refer to, e.g. to the scanner.

    Returns:
        The image.
    """
    code = 0
    if isinstance(header, nib.Nifti1Header):
        code = int(header["sform_code"]) or int(header["qform_code"])
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code or 2)
    image.set_qform(affine, 0 if sheared(affine) else code or 2)
    return image


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except (AttributeError, KeyError):
        return "unknown"


def _apart(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance between the places that two affines give to a corner."""
    last = [max(0, n - 1) for n in (*shape, 1, 1, 1)[:3]]
    corners = np.array(list(product(*[(0, n) for n in last])))
    return float(np.linalg.norm(corners @ (first - second)[:3, :3].T + (first - second)[:3, 3], axis=1).max())
