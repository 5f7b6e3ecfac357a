"""The architectures that a search chooses from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpaceConfig:
    """Search space.

    >>> SpaceConfig().scales
    (16, 8, 4, 2)
    """

    # No "skip", which wins early because it has nothing to learn: the length of cells is searched by itself.
    operations: tuple[str, ...] = ("conv1", "conv3", "conv5", "sep3", "sep5", "dil3")
    """To choose from in every layer."""
    layers: int = 3
    """Most layers in a cell."""
    filters: tuple[int, ...] = (16, 32)
    """Channels to choose from at every scale; the supernet has the fewest at the finest scale,
    doubled at every coarser scale as far as these go."""
    steps: tuple[int] = (2,)
    """Most times that a stage is applied."""
    scales: tuple[int, ...] = (16, 8, 4, 2)
    """Scales of the stages: 2, 4, 8, ... without a gap."""
    int_steps: int = 7
    """Integration steps; 0 for a displacement."""
