"""Volumes read from and written to files of many formats."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bilevelmorph.data.volume import Volume, axial
from bilevelmorph.errors import InputError, fail, one_of
from bilevelmorph.io.atomic import atomic_path, suffix
from bilevelmorph.io.claims import check_numpy
from bilevelmorph.io.headers import affine_of, check_nibabel, place
from bilevelmorph.io.nifti import write_nifti
from bilevelmorph.io.ome_zarr import is_zarr, read_ome_zarr
from bilevelmorph.io.simpleitk import read_dicom_folder, write_itk
from bilevelmorph.registry import READERS, accepted

# Above this ratio of size to contrast, float32 keeps fewer than 2,000 grey values.
_KEPT = 8192
WRITABLE = (".nii", ".nii.gz", ".npz", ".nrrd", ".mha")


def load_volume(path: str | Path, kind: str = "image", key: str | None = None) -> Volume:
    """Read one volume and check that it can be registered.

    Args:
        path: A file with an ending of `bilevelmorph.registry.READERS`, a folder with one DICOM
            series, or one of OME-Zarr. An npy file, or an npz without an array `affine`, gets the
            identity affine.
        kind: ``"image"`` or ``"labels"``.
        key: Name of the array in an npz; by default ``vol`` for images and ``seg`` for labels.

    Returns:
        A `Volume`; images are float32, label maps keep their integer type.

    Raises:
        InputError: The file is missing, unreadable or unsuitable.
    """
    raw = load_voxels(path, kind, key)
    return checked(raw.data, raw.affine, kind, raw.name, raw.header)


def checked(data: np.ndarray, affine: np.ndarray, kind: str, name: str, header: Any = None) -> Volume:
    """Check that an array can be registered, and convert it to a Volume.

    Args:
        data: ``[*S]`` voxels, possibly with further axes of size 1.
        affine: ``[4, 4]``, voxels to RAS millimetres.
        kind: ``"image"`` or ``"labels"``.
        name: Name for messages.
        header: See `Volume`.

    Returns:
        The volume; images are float32, label maps keep their integer type.

    Raises:
        InputError: The voxels are not valid intensities or labels.
    """
    data = _spatial(data, name)
    if kind == "labels":
        return Volume(_whole_numbers(data, name), affine, kind, name, header)
    data, offset = _intensities(data, name)
    return Volume(data, affine, kind, name, header, offset)


def _spatial(data: np.ndarray, name: str) -> np.ndarray:
    """Remove axes of size 1; two or three must remain."""
    data = _squeezed(data)
    if data.ndim not in (2, 3):
        shape = "x".join(map(str, data.shape))
        fix = "extract one volume; register --frames takes a moving series"
        raise fail(name, f"{data.ndim}-D data ({shape})", "a 2-D or 3-D volume", fix)
    _need_size(data.shape, name)
    return data


def load_voxels(path: str | Path, kind: str = "image", key: str | None = None) -> Volume:
    """Read one volume in its own dtype, without checking its intensities; see `load_volume`."""
    data, affine, header = _read(Path(path), kind, key)
    return Volume(np.ascontiguousarray(_spatial(data, str(path))), affine, kind, str(path), header)


def load_channels(path: str | Path, time: bool = False) -> list[Volume]:
    """Read an image whose last axis holds channels, or time, as one volume for each.

    Args:
        path: File to read.
        time: The axis is time, which follows three others; that of slices is of size 1.
    """
    data, affine, header = _read(Path(path), "image", None)
    if time and (data.ndim != 4 or data.shape[3] < 2):
        came = "x".join(map(str, data.shape)) + " voxels"
        raise fail(str(path), came, "a series: four axes, time the last (for slices, a third one of size 1)")
    if data.ndim not in (3, 4):
        raise fail(str(path), f"{data.ndim}-D data", "spatial axes and one channel axis")
    if time and data.shape[2] == 1:
        data = data[:, :, 0]
    _need_size(data.shape[:-1], path)
    parts = [_intensities(data[..., c], path) for c in range(data.shape[-1])]
    return [Volume(p, affine, "image", str(path), header, offset) for p, offset in parts]


def _read(path: Path, kind: str, key: str | None) -> tuple[np.ndarray, np.ndarray, Any]:
    if path.is_dir() and not is_zarr(path):
        return (*read_dicom_folder(path), None)
    read: Any = read_ome_zarr
    ending = "OME-Zarr"
    if not path.is_dir():
        ending = one_of(f"ending of {path}", suffix(path), READERS)
        if not path.is_file():
            raise fail(str(path), "no such file", "an image file")
        if path.stat().st_size == 0:
            raise fail(str(path), "an empty file", "an image file")
        read = READERS.find(ending)
    try:
        data, affine, *rest = read(path, **accepted(read, {"kind": kind, "key": key}))
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise fail(str(path), f"a file that cannot be read ({reason})", f"a valid {ending} file") from error
    header = rest[0] if rest else None
    if data.dtype.fields is not None:
        raise fail(str(path), "colour voxels (RGB)", "one number per voxel", "convert it to grey")
    if data.dtype.kind not in "biuf":
        raise fail(str(path), f"{data.dtype} voxels", "real numbers")
    if not np.issubdtype(np.asarray(affine).dtype, np.number):
        raise fail(f"affine of {path}", "no numbers", "a 4 x 4 matrix")
    return data, np.asarray(affine, float), header


def add_reader(reader: str | None) -> None:
    """Register a function that reads files with a given extension, in this process.

    Args:
        reader: ``".ending=package.module:function"``; the function takes a path and returns
            the voxels ``[*S]`` and their ``[4, 4]`` affine in RAS millimetres. None does nothing.

    Raises:
        InputError: The text has the wrong form, or there is no such function.
    """
    if not reader:
        return
    ending, equals, place = reader.partition("=")
    if not equals or not ending.startswith("."):
        raise fail("reader", reader, "one such as .ending=my_module:read")
    READERS.add(ending.lower(), READERS.find(place))


def read_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    """Read voxels, affine and header of a file with nibabel."""
    image: Any = nib.load(path)
    check_nibabel(image, path)
    return np.asanyarray(image.dataobj), affine_of(image), image.header


def read_numpy(path: Path, kind: str = "image", key: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read voxels and affine of npy or npz; an npz holds images as `vol`, label maps as `seg`.

    Args:
        path: File to read.
        kind: ``"image"`` or ``"labels"``.
        key: Name of another array in the npz.
    """
    check_numpy(path)
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return content, np.eye(4)
    with content:
        wanted = key or ("seg" if kind == "labels" else "vol")
        if wanted not in content.files:
            if len(content.files) != 1:
                raise fail(str(path), f"arrays {', '.join(content.files)}", f"one called {wanted}")
            wanted = content.files[0]
        arrays = [content[wanted], content["affine"] if "affine" in content.files else np.eye(4)]
        for array in arrays:
            if not isinstance(array, np.ndarray):
                raise fail(str(path), f"a member {wanted} that is no array", "arrays")
        return arrays[0], arrays[1]


def holds(path: str | Path, key: str) -> bool:
    """Whether a file is a readable npz that contains an array of this name.

    >>> holds("nosuch.npz", "seg")
    False
    """
    if suffix(path) != ".npz":
        return False
    try:
        with np.load(path, allow_pickle=False) as content:
            return key in content.files
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        return False


def _squeezed(data: np.ndarray) -> np.ndarray:
    """Remove trailing axes of size 1, down to two axes."""
    while data.ndim > 2 and data.shape[-1] == 1:
        data = data[..., 0]
    return data


def _need_size(shape: tuple[int, ...], path: str | Path) -> None:
    if min(shape) < 2:
        raise fail(str(path), f"size {'x'.join(map(str, shape))}", "at least 2 voxels along each axis")


def _intensities(data: np.ndarray, path: str | Path) -> tuple[np.ndarray, float]:
    """Intensities in float32, and what had to be subtracted so that they keep their contrast."""
    if np.abs(np.nan_to_num(data)).max() > np.finfo(np.float32).max:
        raise fail(str(path), "voxels beyond the range of float32", "smaller intensities", "rescale them")
    data, offset = _without_offset(data)
    data = np.ascontiguousarray(data, np.float32)
    bad = int((~np.isfinite(data)).sum())
    if bad:
        raise fail(str(path), f"{bad} NaN or infinite voxels", "finite intensities", "repair them first")
    if data.min() == data.max():
        raise fail(str(path), f"a constant image (all {data.min() + offset:g})", "an image with contrast")
    return data, offset


def _without_offset(data: np.ndarray) -> tuple[np.ndarray, float]:
    """Subtract the least intensity where float32 would round away the differences from it."""
    if data.dtype.itemsize <= 4:
        return data, 0.0
    low, high = data.min(), data.max()
    extent = np.float64(high) - np.float64(low)
    if not np.isfinite(extent) or max(abs(float(low)), abs(float(high))) < _KEPT * extent:
        return data, 0.0
    return data - low, float(low)


def _whole_numbers(data: np.ndarray, path: str | Path) -> np.ndarray:
    if np.issubdtype(data.dtype, np.floating):
        if not np.isfinite(data).all() or (data != np.round(data)).any():
            raise fail(str(path), "fractions or NaN in a label map", "whole numbers", "is it an image?")
        if np.abs(data).max(initial=0) > 2**53:
            raise fail(str(path), "labels beyond 2^53 stored as fractions", "integers")
        data = data.astype(np.int64 if np.abs(data).max(initial=0) >= 2**31 else np.int32)
    return np.ascontiguousarray(data.astype(np.uint8) if data.dtype == bool else data)


def save_volume(path: str | Path, volume: Volume) -> None:
    """Write a volume; the file appears whole or not at all.

    Args:
        path: File to write, with an ending of `WRITABLE`.
        volume: Volume to write; its dtype is kept if the format supports it.
    """
    ending = one_of(f"ending of {path}", suffix(path), WRITABLE)
    with atomic_path(path) as temporary:
        if ending == ".npz":
            key = "seg" if volume.kind == "labels" else "vol"
            arrays: dict[str, Any] = {key: volume.data, "affine": volume.affine}
            np.savez_compressed(temporary, **arrays)
        elif ending in (".nrrd", ".mha"):
            write_itk(temporary, volume)
        else:
            write_nifti(temporary, to_nifti(volume))


def to_nifti(volume: Volume) -> nib.Nifti1Image:
    """Convert to a nibabel image, in a data type that NIfTI supports.

    Nothing of the header that the volume was read with is carried over but what its positions
    refer to: descriptions and intents may be those of another image, and name a patient.
    """
    data = volume.data
    if data.ndim == 2 and not axial(volume.affine):
        data = data[:, :, None]  # two axes alone would lie in the plane of x and y for ITK
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    narrow = np.iinfo(np.int32)
    if data.dtype in (np.int64, np.uint64) and narrow.min <= data.min() and data.max() <= narrow.max:
        data = data.astype(np.int32)
    return place(nib.Nifti1Image(data, volume.affine, dtype=data.dtype), volume.affine, volume.header)
