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
    """Initial placement: by the headers or by the grids' centres; by default as the model was trained."""
    instance_steps: int = 0
    """Instance optimisation: iterations that refine each pair after the model."""
    mc_samples: int = 0
    """Samples of a probabilistic model, for a map of the uncertainty."""
    reader: Reader = None
    """Your own reader for a file ending, as in .ending=my_module:read."""
    gpu: Gpu = "0"
    """GPU number; -1 for the CPU."""
