"""Images read and written through SimpleITK: NRRD, MetaImage, DICOM, and pictures such as PNG and TIFF."""

from __future__ import annotations

import locale
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import fail
from bilevelmorph.io.claims import PACKED, check_claim, check_dicom, check_meta_header, check_text_header
from bilevelmorph.io.headers import sheared
from bilevelmorph.io.tiff import check_tiff

if TYPE_CHECKING:
    import SimpleITK

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read voxels and affine of a file in any format of ITK.

    Args:
        path: File to read.

    Returns:
        ``[*S]`` voxels in ``ij`` order, and their ``[4, 4]`` affine in RAS millimetres.

    Raises:
        InputError: The voxels have several components, as in colour pictures.
    """
    import SimpleITK

    ending = path.suffix.lower()
    if ending in (".nrrd", ".nhdr"):
        check_text_header(path)
    if ending in (".mha", ".mhd"):
        check_meta_header(path)
    if ending in (".tif", ".tiff"):
        check_tiff(path)
    with _locale_kept(), silent():
        if ending in (".dcm", ".ima", ""):
            check_dicom(path)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        voxel = reader.GetNumberOfComponents() * _bytes_of(reader.GetPixelID())
        apart = ending in (".mhd", ".nhdr")  # the voxels lie in another file
        stored = 2**62 if apart else path.stat().st_size
        check_claim(path, math.prod(reader.GetSize()) * voxel, stored, 1 if apart else PACKED, "voxels")
        return _grey(reader.Execute(), path)


def _bytes_of(kind: int) -> int:
    """Bytes of one component of a pixel type, from its description: 32-bit float, 8-bit unsigned integer."""
    import SimpleITK

    found = re.search(r"(\d+)[ -]bit", SimpleITK.GetPixelIDValueAsString(kind))
    return int(found[1]) // 8 if found else 8


def read_dicom_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the one series of a folder of DICOM files; see `read_itk`.

    Args:
        folder: Folder with the files of one series.

    Raises:
        InputError: The folder holds no series, or several.
    """
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    loud = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # it would print that there is none
    for path in folder.iterdir():
        if path.is_file():
            check_dicom(path)
    with _locale_kept():
        series = reader.GetGDCMSeriesIDs(str(folder))
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(loud)
        if len(series) != 1:
            came = f"a folder with {len(series)} DICOM series" if series else "a folder without DICOM files"
            raise fail(str(folder), came, "an image file, or a folder with one series")
        names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
        reader.SetFileNames(names)
        return _grey(reader.Execute(), folder)


@contextmanager
def silent() -> Iterator[None]:
    """Keep what libraries of picture formats write to the terminal from it; errors are raised as well."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
        for number in (*kept, nowhere):
            os.close(number)


@contextmanager
def _locale_kept() -> Iterator[None]:
    """Undo that GDCM takes the locale of the whole process to C, where text is ASCII."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _grey(image: SimpleITK.Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise fail(str(path), "colour voxels (RGB)", "one number per voxel", "convert it to grey")
    return from_sitk(image)


def from_sitk(image: SimpleITK.Image) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a SimpleITK image in ``ij`` order, and its ``[4, 4]`` affine in RAS millimetres."""
    import SimpleITK

    n = image.GetDimension()
    data = SimpleITK.GetArrayFromImage(image)
    data = data.transpose(*reversed(range(n)), *range(n, data.ndim))
    affine = np.eye(4)
    affine[:n, :n] = np.reshape(image.GetDirection(), (n, n)) * np.asarray(image.GetSpacing())
    affine[:n, 3] = image.GetOrigin()
    return data, _LPS @ affine


def to_sitk(volume: Volume) -> SimpleITK.Image:
    """Convert to a SimpleITK image at the same world position.

    Args:
        volume: A 3-D volume, or a 2-D one, which becomes a single slice.

    >>> image = to_sitk(Volume(np.zeros([4, 5, 6]), np.diag([2.0, 3.0, 4.0, 1.0])))
    >>> image.GetSize(), image.GetSpacing()
    ((4, 5, 6), (2.0, 3.0, 4.0))
    """
    import SimpleITK

    data = volume.data if volume.ndims == 3 else volume.data[:, :, None]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    affine = _LPS @ volume.affine
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(o) for o in affine[:3, 3]])
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def write_itk(path: str | Path, volume: Volume) -> None:
    """Write a volume in the format of ITK that the ending of the path names.

    Args:
        path: File to write.
        volume: Its dtype is kept, but for float16, which becomes float32.

    Raises:
        InputError: The axes are not perpendicular, which ITK refuses.
    """
    import SimpleITK

    if sheared(volume.affine):
        raise fail(volume.name, "axes that are not perpendicular", "a grid that ITK takes", "write nii.gz")
    narrower: dict[Any, Any] = {np.dtype(np.float16): np.float32, np.dtype(np.bool_): np.uint8}
    data = volume.data.astype(narrower.get(volume.data.dtype, volume.data.dtype))
    SimpleITK.WriteImage(to_sitk(volume.with_data(data)), str(path), True)
