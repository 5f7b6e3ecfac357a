"""Optimisation of the weights of a network."""

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
    """Pairs per step."""
    steps_per_epoch: int = 100
    """Training steps per epoch; each epoch ends with a checkpoint."""
    lr: float = 1e-4
    """Learning rate of Adam."""
    clip_norm: float = 0.0
    """Norm to which gradients are clipped; 0 for no clipping."""
    ema: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Momentum of the moving average of the network's weights, with which the network is validated
    and saved and outer problems are solved; 0 for none; by default 0.98 with --bilevel, else 0."""
