"""How loss weights are tuned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TuningConfig:
    """Tuning of the loss weights.

    >>> TuningConfig().freeze
    ('similarity',)
    """

    hypergradient: str = "gradient-alignment"
    """Method that differentiates training with respect to the loss weights: first-order, one-step,
    finite-difference, truncated, neumann, conjugate-gradient, gradient-alignment, or your own
    as package.module:Name."""
    outer_lr: float = 0.02
    """Learning rate of the logarithms of the loss weights."""
    outer_every: int = 5
    """Training steps per step of the loss weights."""
    freeze: tuple[str, ...] = ("similarity",)
    """Loss weights that stay fixed; one should, because Adam ignores the scale of the objective."""
