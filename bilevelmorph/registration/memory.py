"""How much memory a registration needs, and what is done where there is less."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from bilevelmorph.errors import fail

LIMIT = "BILEVELMORPH_MEMORY_GB"
# Bytes a voxel, measured with the bundled `general` on a CPU: at the peak on the grid of the network;
# at that of the report, and of what is there throughout, on the grids of the images.
WORK_BYTES, NATIVE_BYTES, KEPT_BYTES = 560, 80, 30
# TensorFlow itself and its first graphs.
BASE_BYTES = 1.2e9
# Deformations on voxels more than this many times as large are not worth having.
COARSEST = 4.0


def available_memory() -> float | None:
    """Bytes that this process may take, or None where the system does not say.

    The environment variable `BILEVELMORPH_MEMORY_GB` takes precedence.
    """
    if os.environ.get(LIMIT):
        try:
            value = float(os.environ[LIMIT])
        except ValueError:
            value = -1.0
        if not value > 0:
            raise fail(LIMIT, repr(os.environ[LIMIT]), "a number above 0")
        return value * 2**30
    found = [x for x in (_of_system(), _of_group()) if x is not None]
    return min(found, default=None)


def _of_system() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _of_group() -> float | None:
    """What the control group, such as that of a container, leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        most, used = (
            (folder / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current")
        )
        return float(most) - float(used)
    except (OSError, ValueError):  # none, or "max"
        return None


def needed_memory(work: int, native: int) -> float:
    """An estimate of the bytes at the peak of a registration.

    Args:
        work: Number of voxels on which the deformation is computed.
        native: Number of voxels of the fixed and the moving image together.

    >>> round(needed_memory(160 * 192 * 160, 2 * 160 * 192 * 160) / 2**30, 1)
    3.8
    """
    return BASE_BYTES + KEPT_BYTES * native / 2 + max(WORK_BYTES * work, NATIVE_BYTES * native / 2)


def coarser_by(shape: Sequence[int], native: int, available: float | None) -> float:
    """By which factor voxels must grow so that a registration fits into memory.

    Args:
        shape: Sizes of the grid on which the deformation would be computed.
        native: See `needed_memory`.
        available: Bytes; None if unknown.

    Returns:
        1 if it fits as it is.

    Raises:
        InputError: It would not fit with voxels four times as large.

    >>> coarser_by((160, 192, 160), 2 * 160 * 192 * 160, 8e9)
    1.0
    >>> round(coarser_by((512, 512, 300), 2 * 512 * 512 * 300, 16e9), 1)
    1.6
    """
    work = math.prod(shape)
    if available is None or needed_memory(work, native) <= available:
        return 1.0
    left = available - BASE_BYTES - KEPT_BYTES * native / 2
    exact = (WORK_BYTES * work / left) ** (1 / len(shape)) if left > 0 else math.inf
    factor = math.ceil(10 * exact) / 10 if left > 0 else exact
    need = needed_memory(int(work / COARSEST ** len(shape)), native) / 2**30
    if factor > COARSEST or need > available / 2**30:
        came = f"{'x'.join(map(str, shape))} voxels, which need about {need:.0f} GB of memory"
        raise fail("pair", came, f"images that fit into {available / 2**30:.1f} GB", "crop or resample them")
    return factor
