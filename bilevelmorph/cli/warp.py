"""Warp an image (linear interpolation) or a label map (nearest neighbour) by a displacement."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import arg

from bilevelmorph.cli.options import Gpu
from bilevelmorph.config.flags import Reader
from bilevelmorph.errors import argument, fail


@dataclass(frozen=True)
class Options:
    """Options of a warp.

    >>> Options("a.nii.gz", "warp.nii.gz", "moved.nii.gz").kind
    'auto'
    """

    moving: str
    """Image or label map to warp."""
    warp: str
    """Displacement written by `register`, ITK or ANTs."""
    moved: str
    """Where to write the result (nii, nii.gz, nrrd, mha, npz)."""
    kind: Literal["auto", "image", "labels"] = "auto"
    """Kind of --moving; auto takes whole numbers of at most 16 values, or alike in neighbours, for labels."""
    warp_format: Literal["auto", "voxelmorph", "itk"] = "auto"
    """Format of --warp: voxels, or millimetres as in ITK and ANTs; auto detects it from the axes."""
    interp: Annotated[Literal["linear", "nearest"] | None, arg(metavar="linear|nearest")] = None
    """Interpolation; overrides the one that --kind implies."""
    fill: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Value where --moving does not reach; by default 0 for labels, that of the background for images."""
    reader: Reader = None
    """Function that reads files with a new extension, such as .ending=my_module:read."""
    gpu: Gpu = "0"
    """Accepted for compatibility with VoxelMorph; warping a file runs on the CPU."""


def run(options: Options) -> None:
    """Warp one file; its dtype is kept."""
    from bilevelmorph.data.geometry import outside_of, targets_of, warp_volume
    from bilevelmorph.data.kinds import kind_of
    from bilevelmorph.data.volume import Volume
    from bilevelmorph.io.headers import doubts
    from bilevelmorph.io.volumes import add_reader, load_voxels, save_volume
    from bilevelmorph.io.warps import load_warp

    add_reader(options.reader)
    if Path(options.moved).resolve() in (Path(options.moving).resolve(), Path(options.warp).resolve()):
        raise fail("moved", f"{options.moved}, which is an input as well", "a name of its own")
    raw = load_voxels(options.moving)
    if unknown := int((~np.isfinite(raw.data)).sum()):
        raise fail(
            options.moving, f"{unknown} NaN or infinite voxels", "finite intensities", "repair them first"
        )
    displacement, grid = load_warp(options.warp, options.warp_format, raw)
    if displacement.shape[-1] != raw.ndims:
        raise fail(
            options.warp, f"{displacement.shape[-1]}-D displacements", f"{raw.ndims}-D like {options.moving}"
        )
    for doubt in doubts(raw.header, raw.name):
        print(f"warning: {doubt}", file=sys.stderr)
    if options.interp:
        kind = "labels" if options.interp == "nearest" else "image"
    else:
        kind = kind_of(raw.data, options.moving) if options.kind == "auto" else options.kind
    moved = warp_volume(Volume(raw.data, raw.affine, kind, raw.name), displacement, grid, options.fill)
    if outside_of(raw.shape, targets_of(displacement, grid, raw.affine)).all():
        fix = f"is {options.warp} for another image, or of another form ({argument('warp_format')})?"
        raise fail(options.warp, f"displacements that all lead out of {options.moving}", "its own warp", fix)
    data = moved.data
    if kind == "image" and np.issubdtype(raw.data.dtype, np.integer):
        limits = np.iinfo(raw.data.dtype)
        data = np.clip(np.rint(data), limits.min, limits.max)
    data = data.astype(raw.data.dtype)
    save_volume(options.moved, Volume(data, grid, kind, raw.name, raw.header))
    print(f"{options.moved}: {kind}, {data.dtype}, {'x'.join(map(str, data.shape))}")
