"""Device, threads, XLA and seed of a run."""

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
    """Comma-separated GPU numbers; -1 for the CPU."""
    threads: int = 0
    """CPU threads per operation; 0 for all."""
    xla: Literal["auto", "off", "islands", "step"] = "auto"
    """What XLA compiles; auto: whole training steps on a GPU, single operations (islands) on a CPU."""
    seed: int = 0
    """Random seed; on a CPU, runs with the same seed give identical results."""
