"""Start and duration of a training run."""

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
    """Number of epochs already done."""
    load_weights: File = None
    """Weights to start from: .keras, or VoxelMorph's .h5."""
    resume: bool = False
    """Continue from the newest checkpoint in --model-dir."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Schedule of the learning rates over --epochs."""
    alternate: int = 0
    """Train the features for this many steps, then the deformation for as many; 0 trains both at once."""
