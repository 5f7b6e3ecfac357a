"""Where a training run begins, and how long it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevelmorph.config.flags import File


@dataclass(frozen=True)
class ScheduleConfig:
    """Schedule of a training run.

    >>> ScheduleConfig(epochs=3).epochs
    3
    """

    epochs: int = 1500
    """Number of training epochs."""
    initial_epoch: int = 0
    """Epochs already done."""
    load_weights: File = None
    """.keras file, or VoxelMorph's .h5, to start from."""
    resume: bool = False
    """Go on from the newest checkpoint in --model-dir."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rates, over all --epochs."""
    alternate: int = 0
    """That many steps of the features, then as many of the deformation; 0 for both at once."""
