"""A folder of scans with training and validation splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.config.flags import Reader


@dataclass(frozen=True)
class ScanFolderConfig:
    """A folder of scans whose dataset.json names training and validation scans.

    >>> ScanFolderConfig().val_pairs
    20
    """

    folder: Annotated[str | None, arg(name="data", metavar="DIR")] = None
    """Folder with a dataset.json (Decathlon, Learn2Reg)."""
    multichannel: bool = False
    """The last axis of every scan holds channels."""
    reader: Reader = None
    """Function that reads files with a new extension, such as .ending=my_module:read."""
    val_pairs: int = 20
    """Number of validation pairs on which candidates are scored."""
