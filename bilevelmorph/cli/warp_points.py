"""Map points of the fixed image to their positions in the moving image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Options:
    """Options of a warp of points.

    >>> Options("fixed.csv", "warp.nii.gz", "moving.csv").space
    'ras'
    """

    points: str
    """CSV with the header x,y,z: world coordinates of points in the fixed image, in millimetres."""
    warp: str
    """Displacement written by `register`, ITK or ANTs."""
    moved: str
    """Where to write the mapped points (CSV)."""
    space: Literal["ras", "lps"] = "ras"
    """Convention of the coordinates: ras as in NIfTI, lps as in ITK."""


def run(options: Options) -> None:
    """Map the points of one CSV file; other columns are kept."""
    from bilevelmorph.io.csv import write_csv
    from bilevelmorph.io.points import AXES, read_points
    from bilevelmorph.io.warps import load_warp, warp_points

    displacement, grid = load_warp(options.warp)
    points, rows = read_points(options.points, displacement.shape[-1])
    axes = AXES[: points.shape[-1]]
    flip = np.array([-1.0, -1.0, 1.0])[: len(axes)] if options.space == "lps" else 1.0
    moved = warp_points(points * flip, displacement, grid) * flip
    for row, point in zip(rows, moved, strict=True):
        row.update({a: f"{v:.6f}" for a, v in zip(axes, point, strict=True)})
    write_csv(options.moved, rows)
    print(f"{options.moved}: {len(rows)} points")
