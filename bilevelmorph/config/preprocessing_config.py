"""How scans are brought to a common form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg


@dataclass(frozen=True)
class PreprocessingConfig:
    """Preprocessing of scans.

    >>> PreprocessingConfig().percentiles
    (0.5, 99.5)
    """

    shape: Annotated[tuple[int, ...] | None, arg(metavar="INT ...")] = None
    """Grid in which scans are centred; by default the smallest that holds them all."""
    spacing: float = 0.0
    """Isotropic voxel size to work in, millimetres; 0 for the scans' own."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Intensities are clipped to these percentiles and scaled to [0, 1]."""
