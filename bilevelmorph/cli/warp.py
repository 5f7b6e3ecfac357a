"""Apply a displacement to an image (linear) or a label map (nearest)."""

from __future__ import annotations

import argparse

import numpy as np

from bilevelmorph.checks import fail
from bilevelmorph.cli.flags import WARP_FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """VoxelMorph's flags, and ours."""
    add = parser.add_argument
    add("--moving", required=True, help="image or label map to be moved")
    add("--warp", required=True, help="displacement that `register`, ITK or ANTs wrote")
    add("--moved", required=True, help="where to write the result (nii, nii.gz, npz)")
    add(
        "--kind",
        choices=("auto", "image", "labels"),
        default="auto",
        help="what the file holds; auto takes integers with at most 512 values for labels",
    )
    add(
        "--warp-format",
        choices=("auto", *WARP_FORMATS),
        default="auto",
        help="form of the warp: voxels, or millimetres as of ITK and ANTs; auto tells by its axes",
    )
    add("--interp", choices=("linear", "nearest"), help="overrides what the kind decides")
    add("-g", "--gpu", default="0", help="accepted for VoxelMorph's sake; warping a file runs on the CPU")


def run(options: argparse.Namespace) -> None:
    """Warp one file; its dtype is kept."""
    from bilevelmorph.volumes.files import load_voxels, save_volume
    from bilevelmorph.volumes.geometry import outside_of, targets_of, warp_volume
    from bilevelmorph.volumes.volume import Volume
    from bilevelmorph.volumes.warps import load_warp

    raw = load_voxels(options.moving)
    displacement, grid = load_warp(options.warp, options.warp_format, raw)
    if displacement.shape[-1] != raw.ndims:
        raise fail(
            options.warp, f"{displacement.shape[-1]}-D displacements", f"{raw.ndims}-D like {options.moving}"
        )
    kind = _looks_like(raw.data) if options.kind == "auto" else options.kind
    if options.interp:
        kind = "labels" if options.interp == "nearest" else "image"
    moved = warp_volume(Volume(raw.data, raw.affine, kind, raw.name), displacement, grid)
    if outside_of(raw.shape, targets_of(displacement, grid, raw.affine)).all():
        mend = f"is {options.warp} for another image, or of another form (--warp-format)?"
        raise fail(options.warp, f"displacements that all lead out of {options.moving}", "its own warp", mend)
    data = moved.data
    if kind == "image" and np.issubdtype(raw.data.dtype, np.integer):
        limits = np.iinfo(raw.data.dtype)
        data = np.clip(np.rint(data), limits.min, limits.max)
    data = data.astype(raw.data.dtype)
    save_volume(options.moved, Volume(data, grid, kind, raw.name, raw.header))
    print(f"{options.moved}: {kind}, {data.dtype}, {'x'.join(map(str, data.shape))}")


def _looks_like(data: np.ndarray) -> str:
    whole = np.issubdtype(data.dtype, np.integer) or data.dtype == bool
    return "labels" if whole and len(np.unique(data)) <= 512 else "image"
