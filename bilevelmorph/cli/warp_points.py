"""Map points of the fixed image to their positions in the moving image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bilevelmorph.errors import fail


@dataclass(frozen=True)
class Options:
    """Options of a warp of points.

    >>> Options("fixed.csv", "warp.nii.gz", "moving.csv").space
    'ras'
    """

    points: str
    """Points in the fixed image, in millimetres: CSV with the header x,y,z, .fcsv or .mrk.json of 3D Slicer,
    or .txt of elastix."""
    warp: str
    """Displacement written by `register`, ITK or ANTs."""
    moved: str
    """Where to write the mapped points (csv, fcsv, mrk.json, txt)."""
    space: Literal["ras", "lps"] = "ras"
    """Convention of coordinates in CSV: ras as in NIfTI, lps as in ITK. Other files name their own."""


def run(options: Options) -> None:
    """Map the points of one file; other columns are kept."""
    from bilevelmorph.io.csv import write_csv
    from bilevelmorph.io.points import AXES, read_points
    from bilevelmorph.io.slicer_points import ENDINGS, write_named_points
    from bilevelmorph.io.warps import load_warp, warp_points

    displacement, grid = load_warp(options.warp)
    points, rows, voxels = read_points(options.points, displacement.shape[-1])
    if voxels:
        raise fail(f"{options.points}, line 1", "no header", "x,y,z", "positions are millimetres")
    axes = AXES[: points.shape[-1]]
    lps = np.array([-1.0, -1.0, 1.0])[: len(axes)]
    named = [path.lower().endswith(ENDINGS) for path in (options.points, options.moved)]
    before, after = (lps if options.space == "lps" and not other else np.ones(len(axes)) for other in named)
    if named[1] and len(axes) != 3:
        raise fail("moved", f"{options.moved} for {len(axes)}-D points", "a name ending in .csv")
    moved = warp_points(points * before, displacement, grid) * after
    for row, point in zip(rows, moved, strict=True):
        row.update({a: f"{v:.6f}" for a, v in zip(axes, point, strict=True)})
    (write_named_points if named[1] else write_csv)(options.moved, rows)
    print(f"{options.moved}: {len(rows)} points")
