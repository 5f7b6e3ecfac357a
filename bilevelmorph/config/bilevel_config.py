"""Bilevel training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from bilevelmorph.config.tuning_config import TuningConfig


@dataclass(frozen=True)
class BilevelConfig:
    """Bilevel training: tuning of loss weights or features on validation pairs.

    >>> BilevelConfig().outer_loss
    'dice'
    """

    enabled: Annotated[bool, arg(name="bilevel")] = False
    """Tune the loss weights on validation pairs."""
    outer_loss: str = "dice"
    """Criterion of the tuning: dice, landmarks, label-free, weighted (the training objective
    itself, which makes the weights drift), or your own as package.module:Name."""
    bilevel_warmup: int = 500
    """Training steps before the tuning begins."""
    outer_features: int = 0
    """propagation: training steps per step of the features on --outer-loss; 0 trains them as usual."""
    outer_part: Literal["features", "network"] = "features"
    """Part that --outer-features optimises: the features, or the whole network in turn with training."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """Tuning of the loss weights."""
