"""How the weights of a network are moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg


@dataclass(frozen=True)
class OptimizationConfig:
    """Optimisation of the network's weights.

    >>> OptimizationConfig(lr=1e-3).lr
    0.001
    """

    batch_size: int = 1
    """Pairs in a step."""
    steps_per_epoch: int = 100
    """Steps between checkpoints."""
    lr: float = 1e-4
    """Learning rate of Adam."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 for any."""
    ema: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Momentum of a moving average of the network's weights, which is what is validated and
    saved, and where outer problems are solved; by default 0.98 with --bilevel, else 0 for none."""
