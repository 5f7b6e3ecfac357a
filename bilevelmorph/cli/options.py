"""Options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from bilevelmorph.config.flags import Reader

Gpu = Annotated[str, arg(aliases=("-g",), metavar="INT")]
Affine = Literal["none", "rigid", "affine"]
Init = Annotated[Literal["header", "centre"] | None, arg(metavar="header|centre")]
WarpFormat = Literal["voxelmorph", "itk"]


@dataclass(frozen=True)
class ModelOptions:
    """How pairs are registered.

    >>> ModelOptions().model
    'general'
    """

    model: str = "general"
    """Bundled model, .keras file, or VoxelMorph's .h5."""
    affine: Affine = "none"
    """Linear alignment before the model."""
    init: Init = None
    """Initial placement by the headers or by the centres of the grids; by default as in training."""
    instance_steps: int = 0
    """Iterations of instance optimisation that refine each pair after the model; 0 for none."""
    mc_samples: int = 0
    """Number of samples of a probabilistic model for an uncertainty map; 0 for none."""
    reader: Reader = None
    """Function that reads files with a new extension, such as .ending=my_module:read."""
    gpu: Gpu = "0"
    """GPU number; -1 for the CPU."""
