"""How a supernet's architecture is moved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchitectureConfig:
    """Levels of the gradient search.

    >>> ArchitectureConfig().architecture_every
    2
    """

    architecture_lr: float = 0.02
    """Learning rate of the architecture."""
    architecture_every: int = 2
    """Training steps for each step of the architecture."""
    # What networks do before they have learned something says little of what they will do.
    warmup_share: float = 0.4
    """Share of the steps in which only the network learns."""
    temperature: float = 0.3
    """Of the mixtures at the end; 1 at the start."""
    latency_weight: float = 0.0
    """Weight of the expected time, relative to that at the start."""
    target_ms: float = 0.0
    """Milliseconds a pair to stay below; a candidate that takes longer does not win; 0: any."""
