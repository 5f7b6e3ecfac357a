"""Images of OME-Zarr, the folders in which microscopes and their viewers keep large volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.errors import InputError, fail
from bilevelmorph.io.claims import PACKED, check_claim
from bilevelmorph.io.json import read_json

_MILLIMETRES = {
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "meter": 1e3,
}
# What turns stored bytes into numbers; others could run code, as pickles do, or are unknown.
_CODECS = {
    *("blosc", "bz2", "crc32c", "delta", "fletcher32", "gzip", "lz4", "lzma", "shuffle", "zlib", "zstd"),
    *("bytes", "endian", "sharding_indexed", "transpose"),
}
_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def is_zarr(folder: Path) -> bool:
    """Whether a folder holds a group or an array of Zarr."""
    return any((folder / name).is_file() for name in _METADATA)


def read_ome_zarr(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Read one resolution of an OME-Zarr image, version 0.4 or 0.5.

    Args:
        path: The image's folder, for its finest resolution, or that of one resolution in it, such
            as ``brain.ome.zarr/2``.

    Returns:
        ``[X, Y(, Z)]`` voxels, their ``[4, 4]`` affine in RAS millimetres, and a header with the doubts
        about it: the format says nothing of the patient, so x, y and z are taken to point left, to
        the back and up, as by ITK.

    Raises:
        InputError: It is no OME-Zarr image, holds several channels or times, or compresses in an
            unknown way.
    """
    try:
        import zarr
    except ImportError as error:
        came, fix = "an OME-Zarr image without zarr installed", "pip install 'bilevelmorph[zarr]'"
        raise fail(str(path), came, "the package zarr", fix) from error
    image, name = (path, None) if _multiscales(path) else (path.parent, path.name)
    found = _multiscales(image)
    if not found:
        raise fail(str(path), "Zarr without the multiscales of OME", "an OME-Zarr image")
    scales = found[0]
    levels = {str(level["path"]): level for level in scales["datasets"]}
    chosen = name if name is not None else next(iter(levels))
    if chosen not in levels:
        raise fail(str(path), "no resolution of the image", f"one of {', '.join(levels)}")
    folder = image / chosen
    _check_codecs(folder)
    array = zarr.open_array(folder, mode="r", zarr_format=3 if (folder / "zarr.json").is_file() else 2)
    stored = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    check_claim(path, math.prod(array.shape) * array.dtype.itemsize, stored, PACKED, "voxels")
    return _placed(path, array, scales, levels[chosen])


def _multiscales(folder: Path) -> list[Mapping[str, Any]]:
    """The images that a group describes."""
    for name in ("zarr.json", ".zattrs"):
        if (folder / name).is_file():
            content = read_json(folder / name, "metadata of Zarr")
            attributes = content.get("attributes", {}).get("ome", {}) if name == "zarr.json" else content
            return attributes.get("multiscales", [])
    return []


def _check_codecs(folder: Path) -> None:
    """Refuse arrays whose decoding is not known to be harmless."""
    new = (folder / "zarr.json").is_file()
    metadata = read_json(folder / ("zarr.json" if new else ".zarray"), "an array of Zarr")
    found = list(metadata.get("codecs") or []) if new else []
    if not new:
        found = [*(metadata.get("filters") or []), *filter(None, [metadata.get("compressor")])]
    names = []
    while found:
        codec = found.pop()
        names.append(str(codec.get("name" if new else "id")))
        inner = codec.get("configuration") or {}
        found += [*(inner.get("codecs") or []), *(inner.get("index_codecs") or [])]
    unknown = sorted(set(names) - _CODECS)
    kind = str(metadata.get("data_type", metadata.get("dtype")))
    if unknown or kind in ("object", "|O"):
        came = f"voxels packed by {', '.join(unknown)}" if unknown else "voxels that are objects"
        raise fail(str(folder), came, "numbers packed by blosc, gzip, zstd or lz4")


def _placed(
    path: Path, array: Any, scales: Mapping[str, Any], level: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales["axes"]]
    names = [str(a["name"]) for a in axes]
    scale, shift = np.ones(len(axes)), np.zeros(len(axes))
    for change in [*level.get("coordinateTransformations", []), *scales.get("coordinateTransformations", [])]:
        if change["type"] == "scale":
            scale, shift = scale * change["scale"], shift * change["scale"]
        elif change["type"] == "translation":
            shift = shift + change["translation"]
        elif change["type"] != "identity":
            raise fail(str(path), f"a {change['type']} of axes", "scale and translation")
    for name, size in zip(names, array.shape, strict=True):
        if name not in "xyz" and size != 1:
            raise fail(
                str(path), f"{size} voxels along {name}", "one channel and one time", "extract one first"
            )
    spatial = [k for k, n in enumerate(names) if n in "xyz"]
    order = sorted(range(len(spatial)), key=lambda k: names[spatial[k]])
    if [names[spatial[k]] for k in order] not in (["x", "y"], ["x", "y", "z"]):
        raise InputError(f"{path}: got the axes {' '.join(names)}, expected x, y and, in 3-D, z")
    data = np.asarray(array[...]).reshape([array.shape[k] for k in spatial])
    affine, doubts = np.eye(4), ["is OME-Zarr, which tells neither left from right nor front from back"]
    doubts[0] += "; as ITK does, x was taken to point left and y to the back"
    for row, k in enumerate(order):
        axis = spatial[k]
        unit = str(axes[axis].get("unit", "millimeter"))
        if unit not in _MILLIMETRES:
            raise fail(str(path), f"positions in {unit}", f"one of {', '.join(_MILLIMETRES)}")
        affine[row, [row, 3]] = _MILLIMETRES[unit] * np.array([scale[axis], shift[axis]])
    if any("unit" not in axes[axis] for axis in spatial):
        doubts.append("gives no unit of its positions, which were taken for millimetres")
    return data.transpose(order), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, {"doubts": doubts}
