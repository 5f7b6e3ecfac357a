"""Landmarks in CSV files and in those of other programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bilevelmorph.errors import fail
from bilevelmorph.io.slicer_points import ENDINGS, read_named_points
from bilevelmorph.io.text import delimiter_of, parsing_csv, read_text

AXES = ("x", "y", "z")


class Points(NamedTuple):
    """A table of points.

    Attributes:
        positions: Coordinates as in the file, ``[P, N]`` float64.
        rows: Every column of every line, in the order of the file, as text.
        voxels: Whether the file has no header, as those of Learn2Reg, whose coordinates are
            voxels of the image.

    >>> points = Points(np.array([[1.5, 2.0]]), [{"name": "apex", "x": "1.5", "y": "2"}])
    >>> points.rows[0]["name"], points.positions[0].tolist()
    ('apex', [1.5, 2.0])
    """

    positions: np.ndarray
    rows: list[dict[str, str]]
    voxels: bool = False


def read_points(path: str | Path, ndims: int) -> Points:
    """Read a CSV file with the header ``x,y,z`` (``x,y`` in 2-D), or points of 3D Slicer or elastix.

    Args:
        path: File to read; further columns of a CSV are kept. Points of .fcsv, .mrk.json and .txt files
            are converted to RAS, those of a CSV are as they stand. A CSV without a header, as Learn2Reg
            has them, holds one column per axis.
        ndims: 2 or 3, the smallest number of coordinates.

    Returns:
        The points, with as many coordinates as the file has.

    Raises:
        InputError: A line is invalid; the message names the file and the line.
    """
    rows, columns, first = _read(Path(path))
    axes = AXES if "z" in columns else AXES[:ndims]
    if not set(axes) <= set(columns):
        raise fail(f"{path}, line 1", ",".join(columns), "columns " + ",".join(axes))
    positions = [[_number(row[a], path, i) for a in axes] for i, row in enumerate(rows, first)]
    return Points(np.array(positions), rows, first == 1)


def _read(path: Path) -> tuple[list[dict[str, str]], list[str], int]:
    """The rows, the names of their columns, and the line of the first one."""
    if path.name.lower().endswith(ENDINGS):
        rows = read_named_points(path)
        if not rows:
            raise fail(str(path), "no points", "at least one")
        return rows, list(rows[0]), 2
    text = read_text(path, "a CSV of points")
    mark = delimiter_of(text)
    names = [name.strip() for name in text.partition("\n")[0].split(mark)]
    first = 1 if all(map(_is_number, names)) else 2
    with parsing_csv(path), io.StringIO(text, newline="") as stream:
        if first == 1 and len(names) in (2, 3):
            reader = csv.DictReader(stream, AXES[: len(names)], delimiter=mark)
        else:
            reader = csv.DictReader(stream, delimiter=mark)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        rows = list(reader)
    for number, row in enumerate(rows, first):
        if None in row or None in row.values():
            raise fail(f"{path}, line {number}", "a different number of columns from the header", "the same")
    if not rows:
        raise fail(str(path), "no points", "a header x,y,z and one line per point")
    return rows, list(reader.fieldnames or []), first


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str | None, path: str | Path, line: int) -> float:
    try:
        value = float(text if text is not None else "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise fail(f"{path}, line {line}", repr(text), "a finite number")
    return value
