"""The architectures from which a search chooses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpaceConfig:
    """Search space.

    >>> SpaceConfig().scales
    (16, 8, 4, 2)
    """

    # No "skip": with nothing to learn it wins early, and the length of cells is searched anyway.
    operations: tuple[str, ...] = ("conv1", "conv3", "conv5", "sep3", "sep5", "dil3")
    """Operations to choose from in every layer."""
    layers: int = 3
    """Largest number of layers in a cell."""
    filters: tuple[int, ...] = (16, 32)
    """Numbers of channels to choose from at every scale. The supernet has the smallest number at
    the finest scale and doubles it at each coarser one, up to the largest."""
    steps: tuple[int] = (2,)
    """Largest number of times that a stage is applied."""
    scales: tuple[int, ...] = (16, 8, 4, 2)
    """Scales of the stages: consecutive powers of 2."""
    int_steps: int = 7
    """Scaling-and-squaring steps; 0 predicts a displacement directly."""
