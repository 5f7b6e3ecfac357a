"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.config.flags import File


@dataclass(frozen=True)
class ObjectiveConfig:
    """The objective of training.

    >>> ObjectiveConfig(image_loss="ncc").window
    9
    """

    image_loss: str = "mse"
    """Similarity: mse, ncc, mind, nmi, or your own as package.module:Name."""
    window: int = 9
    """Window width of ncc, in voxels."""
    regularity: str = "diffusion"
    """Regulariser of the velocity: diffusion, bending, or your own as package.module:name."""
    lambda_weight: Annotated[float, arg(name="lambda", aliases=("--grad-loss-weight",))] = 0.01
    """Weight of the regulariser, or of the KL divergence."""
    stage_weights: tuple[float, ...] = ()
    """propagation: weights of the similarity at 1/2, 1/4, ... of the resolution."""
    folding_weight: float = 0.0
    """Weight of the penalty on folding."""
    loss_weights: File = None
    """JSON file of loss weights by name, as written by a search; takes precedence over the flags."""
