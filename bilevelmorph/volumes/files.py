"""Reading and writing volumes: nii, nii.gz, mgz, npy, npz in; nii, nii.gz, npz out."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bilevelmorph.checks import InputError, fail, one_of
from bilevelmorph.volumes.volume import Volume

READABLE = (".nii", ".nii.gz", ".mgz", ".mgh", ".npy", ".npz")
WRITABLE = (".nii", ".nii.gz", ".npz")


def suffix(path: str | Path) -> str:
    """The ending of a file's name, ``.nii.gz`` as one.

    >>> suffix("a/b.nii.gz")
    '.nii.gz'
    """
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def load_volume(path: str | Path, kind: str = "image", key: str | None = None) -> Volume:
    """Read one volume and check that it can be registered.

    Args:
        path: A nii, nii.gz, mgz, mgh, npy or npz file. npy and npz have no
            geometry and get the identity affine (an `affine` array in the npz is used).
        kind: ``"image"`` or ``"labels"``.
        key: Array of an npz; ``vol`` for images and ``seg`` for labels unless given.

    Returns:
        A `Volume`, images in float32, label maps in their own integer type.

    Raises:
        InputError: Missing, unreadable or unsuitable file.
    """
    raw = load_voxels(path, kind, key)
    data = _whole_numbers(raw.data, path) if kind == "labels" else _intensities(raw.data, path)
    return Volume(data, raw.affine, kind, raw.name, raw.header)


def load_voxels(path: str | Path, kind: str = "image", key: str | None = None) -> Volume:
    """Read one volume as it is: its own dtype, intensities unchecked; see `load_volume`."""
    data, affine, header = _read(Path(path), kind, key)
    data = _squeezed(data)
    if data.ndim not in (2, 3):
        shape = "x".join(map(str, data.shape))
        raise fail(str(path), f"{data.ndim}-D data ({shape})", "a 2-D or 3-D volume", "extract one volume")
    _need_size(data.shape, path)
    return Volume(np.ascontiguousarray(data), affine, kind, str(path), header)


def load_channels(path: str | Path) -> list[Volume]:
    """Read an image whose last axis holds channels, as one volume a channel."""
    data, affine, header = _read(Path(path), "image", None)
    if data.ndim not in (3, 4):
        raise fail(str(path), f"{data.ndim}-D data", "spatial axes and one of channels")
    _need_size(data.shape[:-1], path)
    parts = [_intensities(data[..., c], path) for c in range(data.shape[-1])]
    return [Volume(p, affine, "image", str(path), header) for p in parts]


def _read(path: Path, kind: str, key: str | None) -> tuple[np.ndarray, np.ndarray, Any]:
    ending = one_of(f"ending of {path}", suffix(path), READABLE)
    if not path.is_file():
        raise fail(str(path), "no such file", "an image file")
    if path.stat().st_size == 0:
        raise fail(str(path), "an empty file", "an image file")
    header: Any = None
    try:
        if ending in (".npy", ".npz"):
            data, affine = _read_numpy(path, kind, key)
        else:
            image: Any = nib.load(path)
            data, affine, header = np.asanyarray(image.dataobj), image.affine, image.header
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise fail(str(path), f"a file that cannot be read ({reason})", f"a whole {ending} file") from error
    if data.dtype.fields is not None:
        raise fail(str(path), "colour voxels (RGB)", "one number a voxel", "convert it to grey")
    if not (np.issubdtype(data.dtype, np.number) or data.dtype == bool) or np.iscomplexobj(data):
        raise fail(str(path), f"{data.dtype} voxels", "real numbers")
    if not np.issubdtype(np.asarray(affine).dtype, np.number):
        raise fail(f"affine of {path}", "no numbers", "a 4 x 4 matrix")
    return data, np.asarray(affine, float), header


def _read_numpy(path: Path, kind: str, key: str | None) -> tuple[np.ndarray, np.ndarray]:
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return content, np.eye(4)
    with content:
        wanted = key or ("seg" if kind == "labels" else "vol")
        if wanted not in content.files:
            if len(content.files) != 1:
                raise fail(str(path), f"arrays {', '.join(content.files)}", f"one called {wanted}")
            wanted = content.files[0]
        affine = content["affine"] if "affine" in content.files else np.eye(4)
        return content[wanted], affine


def holds(path: str | Path, key: str) -> bool:
    """Whether a file is an npz with such an array; what cannot be read has none.

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
    """Without the axes of size 1 at the end, down to two axes."""
    while data.ndim > 2 and data.shape[-1] == 1:
        data = data[..., 0]
    return data


def _need_size(shape: tuple[int, ...], path: str | Path) -> None:
    if min(shape) < 2:
        raise fail(str(path), f"size {'x'.join(map(str, shape))}", "at least 2 voxels along each axis")


def _intensities(data: np.ndarray, path: str | Path) -> np.ndarray:
    if np.abs(np.nan_to_num(data)).max() > np.finfo(np.float32).max:
        raise fail(str(path), "voxels beyond the range of float32", "smaller intensities", "rescale them")
    data = np.ascontiguousarray(data, np.float32)
    bad = int((~np.isfinite(data)).sum())
    if bad:
        raise fail(str(path), f"{bad} NaN or infinite voxels", "finite intensities", "mend them first")
    if data.min() == data.max():
        raise fail(str(path), f"a constant image (all {data.min():g})", "an image with contrast")
    return data


def _whole_numbers(data: np.ndarray, path: str | Path) -> np.ndarray:
    if np.issubdtype(data.dtype, np.floating):
        if not np.isfinite(data).all() or (data != np.round(data)).any():
            raise fail(str(path), "fractions or NaN in a label map", "whole numbers", "is it an image?")
        data = data.astype(np.int32)
    return np.ascontiguousarray(data.astype(np.uint8) if data.dtype == bool else data)


def save_volume(path: str | Path, volume: Volume) -> None:
    """Write a volume; the file appears whole or not at all.

    Args:
        path: nii, nii.gz or npz.
        volume: Its dtype is kept.
    """
    ending = one_of(f"ending of {path}", suffix(path), WRITABLE)
    with replacing(path) as temporary:
        if ending == ".npz":
            key = "seg" if volume.kind == "labels" else "vol"
            arrays: dict[str, Any] = {key: volume.data, "affine": volume.affine}
            np.savez_compressed(temporary, **arrays)
        else:
            nib.save(_nifti(volume), temporary)


def _nifti(volume: Volume) -> nib.Nifti1Image:
    data = volume.data
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    if data.dtype in (np.int64, np.uint64, np.bool_):
        data = data.astype(np.int32 if data.dtype != np.bool_ else np.uint8)
    header = volume.header if isinstance(volume.header, nib.Nifti1Header) else None
    image = nib.Nifti1Image(data, volume.affine, header)
    image.set_data_dtype(data.dtype)
    image.header["scl_slope"], image.header["scl_inter"] = 1, 0
    image.header["cal_min"], image.header["cal_max"] = 0, 0
    if header is None:
        image.header.set_xyzt_units("mm")
    return image


@contextmanager
def replacing(path: str | Path) -> Iterator[str]:
    """A temporary name beside `path`, moved onto it if the block succeeds.

    Raises:
        InputError: The folder does not exist or cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise fail(str(path), f"no folder {path.parent}", "an existing folder", "make it first")
    if path.is_dir():
        raise fail(str(path), "a folder", "a file's name")
    try:
        handle, temporary = tempfile.mkstemp(suffix=suffix(path), prefix=".writing-", dir=path.parent)
    except OSError as error:
        raise fail(str(path), error.strerror or "an error", "a folder that can be written") from error
    os.close(handle)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
