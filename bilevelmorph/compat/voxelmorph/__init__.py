"""VoxelMorph 0.2: its import on current Python and Keras, its weight files and its 2018 networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bilevelmorph.compat.voxelmorph.import_hook import install, require

if TYPE_CHECKING:
    from bilevelmorph.compat.voxelmorph.network_2018 import Vxm2018

__all__ = ["Vxm2018", "install", "require"]


def __getattr__(name: str) -> object:
    if name == "Vxm2018":  # imported on demand, because it needs Keras
        from bilevelmorph.compat.voxelmorph.network_2018 import Vxm2018

        return Vxm2018
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
