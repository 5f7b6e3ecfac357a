"""Bounds on what a configuration may ask for, because one in a file may be damaged or hostile.

They are far above what any registration needs, and below what would occupy a machine for hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bilevelmorph.errors import fail, one_of, positive

CHANNELS = 4096
SQUARINGS = 30
SCALE = 256
REPEATS = 100
LAYERS = 100
SIZE = 1 << 16


def whole(what: str, value: Any, most: int, *, zero: bool = False) -> int:
    """Return a whole number above zero (or zero, if allowed) and at most `most`.

    >>> whole("int_steps", 7, SQUARINGS)
    7
    """
    if positive(what, value, zero=zero, whole=True) > most:
        raise fail(what, f"{value:g}", f"at most {most}")
    return int(value)


def checked_preprocessing(table: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check how images are prepared for a network: ``percentiles``, ``grid``, ``shape``, ``spacing``.

    >>> checked_preprocessing({"percentiles": [0, 100], "grid": "header"})
    {'percentiles': [0, 100], 'grid': 'header'}
    """
    table = dict(table or {})
    for name in table:
        one_of("preprocessing", name, ("percentiles", "grid", "shape", "spacing"))
    if "percentiles" in table:
        limits = table["percentiles"]
        if not isinstance(limits, (list, tuple)) or len(limits) != 2:
            raise fail("preprocessing, percentiles", limits, "two numbers")
        low, high = (positive("preprocessing, percentiles", x, zero=True) for x in limits)
        if not low < high <= 100:
            raise fail("preprocessing, percentiles", limits, "two rising numbers from 0 to 100")
    if "grid" in table:
        one_of("preprocessing, grid", table["grid"], ("header", "centre"))
    if (sizes := table.get("shape")) is not None:
        if not isinstance(sizes, (list, tuple)) or not 1 <= len(sizes) <= 3:
            raise fail("preprocessing, shape", sizes, "one size for every axis")
        for size in sizes:
            whole("preprocessing, shape", size, SIZE)
    spacing = table.get("spacing", 1.0)
    for size in spacing if isinstance(spacing, (list, tuple)) else [spacing]:
        positive("preprocessing, spacing", size)
    return table
