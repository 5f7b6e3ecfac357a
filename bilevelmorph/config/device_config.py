"""What a run computes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg


@dataclass(frozen=True)
class DeviceConfig:
    """Device and seed.

    >>> DeviceConfig().gpu
    '0'
    """

    gpu: Annotated[str, arg(aliases=("-g",))] = "0"
    """GPU numbers, comma separated; -1 for the CPU."""
    threads: int = 0
    """CPU threads of an operation; 0 for all."""
    xla: Literal["auto", "off", "islands", "step"] = "auto"
    """What XLA compiles: whole steps on a GPU, single operations on a CPU, or as named."""
    seed: int = 0
    """The same seed gives the same bits on a CPU."""
