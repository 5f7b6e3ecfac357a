"""How the architecture of a supernet is optimised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchitectureConfig:
    """The outer problems of the gradient search.

    >>> ArchitectureConfig().architecture_every
    2
    """

    architecture_lr: float = 0.02
    """Learning rate of the architecture."""
    architecture_every: int = 2
    """Training steps for each step of the architecture."""
    # An untrained network says little about how it will do once trained.
    warmup_share: float = 0.4
    """Share of the steps in which only the network learns."""
    temperature: float = 0.3
    """Softmax temperature of the mixtures at the end; it starts at 1."""
    latency_weight: float = 0.0
    """Weight of the expected time, relative to the initial one."""
    target_ms: float = 0.0
    """Upper limit on the time per pair, milliseconds; slower candidates cannot win; 0 for none."""
