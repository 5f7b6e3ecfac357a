"""Move points of the fixed image to where they lie in the moving one."""

from __future__ import annotations

import argparse

import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    add = parser.add_argument
    add(
        "--points",
        required=True,
        help="CSV with the header x,y,z: millimetres in the world of the fixed image",
    )
    add("--warp", required=True, help="displacement that `register` wrote")
    add("--moved", required=True, help="where to write the moved points (CSV)")
    add("--space", choices=("ras", "lps"), default="ras", help="axes of the coordinates: NIfTI's or ITK's")


def run(options: argparse.Namespace) -> None:
    """Warp one CSV file; further columns are kept."""
    from bilevelmorph.volumes.points import AXES, read_points
    from bilevelmorph.volumes.tables import write_csv
    from bilevelmorph.volumes.warps import load_warp, warp_points

    displacement, grid = load_warp(options.warp)
    points, rows = read_points(options.points, displacement.shape[-1])
    axes = AXES[: displacement.shape[-1]]
    flip = np.array([-1.0, -1.0, 1.0])[: len(axes)] if options.space == "lps" else 1.0
    moved = warp_points(points * flip, displacement, grid) * flip
    for row, point in zip(rows, moved, strict=True):
        row.update({a: f"{v:.6f}" for a, v in zip(axes, point, strict=True)})
    write_csv(options.moved, rows)
    print(f"{options.moved}: {len(rows)} points")
