"""How scans are preprocessed."""

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
    """Grid size to which scans are cropped or padded; by default the smallest that holds them all."""
    spacing: float = 0.0
    """Isotropic voxel size to which scans are resampled, in mm; 0 keeps their own."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Percentiles to which intensities are clipped before they are scaled to [0, 1]."""
