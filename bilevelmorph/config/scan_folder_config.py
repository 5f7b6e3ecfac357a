"""A folder of scans with its own splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.config.flags import Reader


@dataclass(frozen=True)
class ScanFolderConfig:
    """Scans of a folder that says which are for training and which for validation.

    >>> ScanFolderConfig().val_pairs
    20
    """

    folder: Annotated[str | None, arg(name="data", metavar="DIR")] = None
    """Folder with a dataset.json (Decathlon, Learn2Reg)."""
    multichannel: bool = False
    """The last axis of every scan holds channels."""
    reader: Reader = None
    """Your own function that reads files of an ending, as in .ending=my_module:read."""
    val_pairs: int = 20
    """Validation pairs that candidates are scored on."""
