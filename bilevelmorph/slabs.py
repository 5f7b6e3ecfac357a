"""Work on large grids slab by slab: in little memory, on several cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Voxels of a slab: few enough for the caches, enough to make the calls in Python rare.
VOXELS = 1 << 18
THREADS = 4


def over_slabs(function: Callable[[slice], T], shape: Sequence[int], voxels: int = VOXELS) -> list[T]:
    """Call a function with every slab of a grid, in several threads.

    The slabs depend on the grid only, so that sums over them are the same on every machine.

    Args:
        function: Takes the rows of a slab, a slice of the first axis.
        shape: Sizes of the grid.
        voxels: Number of voxels of a slab, at least one row.

    Returns:
        What the function returned, in the order of the slabs.

    >>> over_slabs(lambda rows: (rows.start, rows.stop), (10, 4), voxels=16)
    [(0, 4), (4, 8), (8, 10)]
    """
    rows = max(1, voxels // max(1, math.prod(shape[1:])))
    slabs = [slice(i, min(i + rows, shape[0])) for i in range(0, shape[0], rows)]
    if len(slabs) == 1:
        return [function(slabs[0])]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        return list(threads.map(function, slabs))


def with_margin(rows: slice, margin: int, size: int) -> tuple[slice, slice]:
    """A slab with rows beside it, as far as the grid has them, and where the slab itself lies in it.

    >>> with_margin(slice(4, 8), 2, 9)
    (slice(2, 9, None), slice(2, 6, None))
    """
    start, stop = max(0, rows.start - margin), min(size, rows.stop + margin)
    return slice(start, stop), slice(rows.start - start, rows.stop - start)
