"""Reading and writing of files: volumes, warps, points, ITK transforms, JSON and CSV."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bilevelmorph.io.points import read_points
    from bilevelmorph.io.volumes import load_volume, save_volume
    from bilevelmorph.io.warps import load_warp, save_warp

__all__ = ["load_volume", "load_warp", "read_points", "save_volume", "save_warp"]

# Imported on first use: the configurations need JSON, but not SciPy, nibabel and SimpleITK.
_PLACES = {
    "load_volume": "volumes",
    "load_warp": "warps",
    "read_points": "points",
    "save_volume": "volumes",
    "save_warp": "warps",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
