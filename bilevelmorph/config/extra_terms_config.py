"""Further terms of the training objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg


@dataclass(frozen=True)
class ExtraTermsConfig:
    """Further terms of the objective.

    >>> ExtraTermsConfig().dice_weight
    0.0
    """

    bidir: bool = False
    """Symmetric objective: compare the images in both directions."""
    dice_weight: Annotated[float, arg(aliases=("--dice-loss-weight",))] = 0.0
    """Weight of the soft Dice loss on training labels."""
    feature_kl: float = 0.001
    """Weight of the KL divergence of probabilistic features."""
    kl_lambda: float = 10.0
    """Prior precision of the KL divergence of a probabilistic velocity."""
    image_sigma: Annotated[float, arg(name="legacy-image-sigma")] = 1.0
    """Standard deviation of the image noise; used by mse."""
