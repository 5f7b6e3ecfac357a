"""Landmarks of 3D Slicer (.fcsv, .mrk.json) and elastix (.txt), in RAS here whatever their own convention."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.errors import InputError, fail
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.io.text import parsing_csv

# Endings of files that name their own convention.
ENDINGS = (".fcsv", ".mrk.json", ".txt")
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_COLUMNS = [
    "id",
    "x",
    "y",
    "z",
    "ow",
    "ox",
    "oy",
    "oz",
    "vis",
    "sel",
    "lock",
    "label",
    "desc",
    "associatedNodeID",
]
# How the conventions are called in files, the older of which have numbers.
_SIGNS = {"RAS": 1, "0": 1, "LPS": -1, "1": -1}
_EXPECTED = "points of 3D Slicer or elastix"


def read_named_points(path: Path) -> list[dict[str, str]]:
    """Read the points of a file with one of `ENDINGS`.

    Args:
        path: File to read.

    Returns:
        One row per point, with its label and its ``x``, ``y``, ``z`` in millimetres, RAS, as text.

    Raises:
        InputError: The file is missing, or has another form.
    """
    if not path.is_file():
        raise fail(str(path), "no such file", _EXPECTED)
    name = path.name.lower()
    try:
        if name.endswith(".mrk.json"):
            return _read_json(path)
        return (_read_fcsv if name.endswith(".fcsv") else _read_txt)(path)
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise fail(str(path), "a file of another form", _EXPECTED) from error


def write_named_points(path: str | Path, rows: Sequence[dict[str, str]]) -> None:
    """Write points to a file with one of `ENDINGS`, in LPS, which all of these programs read.

    Args:
        path: File to write.
        rows: One row per point, see `read_named_points`.
    """
    name = str(path).lower()
    table = [(row.get("label") or f"F-{i}", _flipped(row)) for i, row in enumerate(rows, 1)]
    if name.endswith(".mrk.json"):
        points = [{"id": str(i), "label": label, "position": at} for i, (label, at) in enumerate(table, 1)]
        markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm"}
        write_json(path, {"@schema": _SCHEMA, "markups": [{**markup, "controlPoints": points}]})
        return
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        if name.endswith(".txt"):
            stream.write(f"point\n{len(table)}\n")
            stream.writelines(" ".join(f"{v:.6f}" for v in at) + "\n" for _, at in table)
            return
        stream.write("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n")
        stream.write(f"# columns = {','.join(_COLUMNS)}\n")
        out = csv.writer(stream)
        for i, (label, at) in enumerate(table, 1):
            out.writerow([i, *(f"{v:.6f}" for v in at), 0, 0, 0, 1, 1, 1, 0, label, "", ""])


def _flipped(row: dict[str, str]) -> list[float]:
    """The position in LPS."""
    x, y, z = (float(row[axis]) for axis in "xyz")
    return [-x, -y, z]


def _row(label: str, position: Sequence[Any], sign: int) -> dict[str, str]:
    x, y, z = map(float, position)
    return {"label": label, "x": repr(sign * x), "y": repr(sign * y), "z": repr(z)}


def _read_json(path: Path) -> list[dict[str, str]]:
    rows = []
    for markup in read_json(path, _EXPECTED)["markups"]:
        sign = _SIGNS[str(markup.get("coordinateSystem", "LPS"))]
        for point in markup["controlPoints"]:
            rows.append(_row(str(point.get("label", "")), point["position"], sign))
    return rows


def _read_fcsv(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    said = dict(x.lstrip("# ").split(" = ", 1) for x in lines if x.startswith("#") and " = " in x)
    sign = _SIGNS[said["CoordinateSystem"].strip()]
    columns = said.get("columns", ",".join(_COLUMNS)).strip().split(",")
    found = csv.DictReader((x for x in lines if x.strip() and not x.startswith("#")), columns)
    with parsing_csv(path):
        return [_row(row["label"], [row[axis] for axis in "xyz"], sign) for row in found]


def _read_txt(path: Path) -> list[dict[str, str]]:
    kind, count, *lines = path.read_text(encoding="utf-8").split("\n")
    if kind.strip() != "point":
        raise fail(str(path), f"{kind.strip()[:20]!r} in the first line", "point, in millimetres")
    points = [line.split() for line in lines if line.strip()]
    if len(points) != int(count):
        raise fail(str(path), f"{len(points)} points", f"{int(count)}, as its second line says")
    return [_row("", point, -1) for point in points]
