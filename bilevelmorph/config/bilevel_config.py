"""Bilevel training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from bilevelmorph.config.tuning_config import TuningConfig


@dataclass(frozen=True)
class BilevelConfig:
    """Bilevel training: loss weights, or features, tuned on validation pairs.

    >>> BilevelConfig().outer_loss
    'dice'
    """

    enabled: Annotated[bool, arg(name="bilevel")] = False
    """Tune the weights of the objective on validation pairs."""
    outer_loss: str = "dice"
    """Criterion that the weights are tuned for: dice, landmarks, label-free, weighted (the
    training objective itself, which makes them drift), or your own as package.module:Name."""
    bilevel_warmup: int = 500
    """Training steps before the loss weights begin to move."""
    outer_features: int = 0
    """propagation: training steps per step of the features along --outer-loss; 0: train them as usual."""
    outer_part: Literal["features", "network"] = "features"
    """What --outer-features moves: the features, or the whole network in turn with training."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """Tuning of the loss weights."""
