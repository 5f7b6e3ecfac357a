"""Landmarks in CSV files and in those of other programs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bilevelmorph.errors import fail
from bilevelmorph.io.slicer_points import ENDINGS, read_named_points

AXES = ("x", "y", "z")


class Points(NamedTuple):
    """A table of points.

    Attributes:
        positions: Coordinates as in the file, ``[P, N]`` float64.
        rows: Every column of every line, in the order of the file, as text.

    >>> points = Points(np.array([[1.5, 2.0]]), [{"name": "apex", "x": "1.5", "y": "2"}])
    >>> points.rows[0]["name"], points.positions[0].tolist()
    ('apex', [1.5, 2.0])
    """

    positions: np.ndarray
    rows: list[dict[str, str]]


def read_points(path: str | Path, ndims: int) -> Points:
    """Read a CSV file with the header ``x,y,z`` (``x,y`` in 2-D), or points of 3D Slicer or elastix.

    Args:
        path: File to read; further columns of a CSV are kept. Points of .fcsv, .mrk.json and .txt files
            are converted to RAS, those of a CSV are as they stand.
        ndims: 2 or 3, the smallest number of coordinates.

    Returns:
        The points, with as many coordinates as the file has.

    Raises:
        InputError: A line is invalid; the message names the file and the line.
    """
    rows, columns = _read(Path(path))
    axes = AXES if "z" in columns else AXES[:ndims]
    if not set(axes) <= set(columns):
        raise fail(f"{path}, line 1", ",".join(columns), "columns " + ",".join(axes))
    positions = [[_number(row[a], path, i) for a in axes] for i, row in enumerate(rows, 2)]
    return Points(np.array(positions), rows)


def _read(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    if path.name.lower().endswith(ENDINGS):
        rows = read_named_points(path)
        if not rows:
            raise fail(str(path), "no points", "at least one")
        return rows, list(rows[0])
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
            raise fail(f"{path}, line {number}", "a different number of columns from the header", "the same")
    if not rows:
        raise fail(str(path), "no points", "a header x,y,z and one line per point")
    return rows, list(reader.fieldnames or [])


def _number(text: str | None, path: str | Path, line: int) -> float:
    try:
        value = float(text if text is not None else "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise fail(f"{path}, line {line}", repr(text), "a finite number")
    return value
