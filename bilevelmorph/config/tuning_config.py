"""How loss weights are tuned."""

from __future__ import annotations

from dataclasses import dataclass

from bilevelmorph.registry import METHODS


@dataclass(frozen=True)
class TuningConfig:
    """Tuning of the loss weights.

    >>> TuningConfig().freeze
    ('similarity',)
    """

    hypergradient: str = "gradient-alignment"
    """Method that differentiates training with respect to the loss weights: first-order, one-step,
    finite-difference, truncated, forward, neumann, conjugate-gradient, gradient-alignment, f2sa, bome, or
    your own as package.module:Name."""
    outer_lr: float = 0.02
    """Learning rate of the logarithms of the loss weights."""
    outer_every: int = 5
    """Training steps per step of the loss weights."""
    freeze: tuple[str, ...] = ("similarity",)
    """Loss weights that stay fixed; one should, because Adam ignores the scale of the objective."""

    def __post_init__(self) -> None:
        # Runs and searches of version 0.1 that are resumed hold former names of methods.
        object.__setattr__(self, "hypergradient", METHODS.identifier(self.hypergradient))
