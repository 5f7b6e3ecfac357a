"""Arrays that are costly to make, kept in a bounded part of memory and, beyond that, on disk."""

from __future__ import annotations

import shutil
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np

from bilevelmorph.temporary import make_temporary_folder

# A hundred crops of a hippocampus, or three whole brains of 1 mm; the disk, which is asked for more, takes
# 4 ms a brain.
LIMIT = 64_000_000


class ArrayCache:
    """Keeps the arrays used last in memory, and those before them in a temporary folder.

    A training run reads every scan many times. All of them may not fit into memory, and reading
    a compressed scan again takes a hundred times longer than reading an array from the disk.

    Args:
        limit: Bytes to keep in memory.

    >>> cache = ArrayCache(limit=100)
    >>> made = [cache.get(n, lambda n=n: np.full(10, n)) for n in (1, 2, 1)]
    >>> [int(array[0]) for array in made], len(cache)
    ([1, 2, 1], 2)
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._memory: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._disk: dict[Hashable, Path] = {}
        self._folder: Path | None = None

    def __len__(self) -> int:
        return len(self._memory.keys() | self._disk.keys())

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of a key, which must not be changed; `make` makes it if it is not kept."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        array = np.load(self._disk[key]) if key in self._disk else make()
        self._memory[key] = array
        while sum(a.nbytes for a in self._memory.values()) > self.limit and len(self._memory) > 1:
            self._move_to_disk(*self._memory.popitem(last=False))
        return array

    def _move_to_disk(self, key: Hashable, array: np.ndarray) -> None:
        if key in self._disk:
            return
        if self._folder is None:
            self._folder = make_temporary_folder()
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{len(self._disk)}.npy"
        try:
            np.save(path, array)
        except OSError:  # the disk is full; the array is made again when it is needed
            path.unlink(missing_ok=True)
            return
        self._disk[key] = path
