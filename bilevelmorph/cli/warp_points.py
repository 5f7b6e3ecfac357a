"""Move points of the fixed image to where they lie in the moving one."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from bilevelmorph.checks import fail


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
    from bilevelmorph.volumes.files import replacing
    from bilevelmorph.volumes.warps import load_warp, warp_points

    rows, columns = _read(Path(options.points))
    displacement, grid = load_warp(options.warp)
    axes = ["x", "y", "z"][: displacement.shape[-1]]
    if not set(axes) <= set(columns):
        raise fail(f"{options.points}, line 1", ",".join(columns), "columns " + ",".join(axes))
    points = np.array([[_number(r[a], options.points, i) for a in axes] for i, r in enumerate(rows, 2)])
    flip = np.array([-1.0, -1.0, 1.0])[: len(axes)] if options.space == "lps" else 1.0
    moved = warp_points(points * flip, displacement, grid) * flip
    for row, point in zip(rows, moved, strict=True):
        row.update({a: f"{v:.6f}" for a, v in zip(axes, point, strict=True)})
    with replacing(options.moved) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        out = csv.DictWriter(stream, columns)
        out.writeheader()
        out.writerows(rows)
    print(f"{options.moved}: {len(rows)} points")


def _read(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    if not path.is_file():
        raise fail(str(path), "no such file", "a CSV of points")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise fail(str(path), "a binary file", "a CSV of points") from error
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise fail(f"{path}, line {number}", "another number of columns than the header", "as many")
    if not rows:
        raise fail(str(path), "no points", "a header x,y,z and a line a point")
    return rows, list(reader.fieldnames or [])


def _number(text: str | None, path: str, line: int) -> float:
    try:
        value = float(text if text is not None else "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise fail(f"{path}, line {line}", repr(text), "a finite number")
    return value
