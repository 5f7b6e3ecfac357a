"""HDF5 files that are data and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from bilevelmorph.errors import fail
from bilevelmorph.io.claims import PACKED, check_claim


def datasets(group: h5py.Group, path: str | Path) -> Iterator[tuple[str, Any]]:
    """Every data set below a group by its name, after a look at what it claims.

    Args:
        group: An open file, or a part of one.
        path: The file, for messages and for its size.

    Raises:
        InputError: A value lies in another file, or claims more bytes than the file can hold.
    """
    stored, found = Path(path).stat().st_size, []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise fail(str(path), f"{name}, whose values lie in another file", "a file by itself")
            check_claim(f"{path}, {name}", item.nbytes, stored, PACKED if item.compression else 1)
            found.append((name, item))

    group.visititems(visit)
    yield from found
