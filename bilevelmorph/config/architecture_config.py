"""How the architecture of a supernet is optimised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchitectureConfig:
    """Optimisation of the architecture in a gradient search.

    >>> ArchitectureConfig().architecture_every
    2
    """

    architecture_lr: float = 0.02
    """Learning rate of the architecture parameters."""
    architecture_every: int = 2
    """Training steps per step of the architecture."""
    # An untrained network says little about how well it will do once trained.
    warmup_share: float = 0.4
    """Share of the training steps, at the start, in which only the network is trained."""
    temperature: float = 0.3
    """Softmax temperature of the mixtures at the end of the search; it starts at 1."""
    latency_weight: float = 0.0
    """Weight of the penalty on the expected time relative to its initial value."""
    target_ms: float = 0.0
    """Upper limit on the time per pair, in milliseconds; slower candidates cannot win; 0 for none."""
