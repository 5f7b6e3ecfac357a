"""Which scans are paired for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.config.flags import File, Reader


@dataclass(frozen=True)
class ScanConfig:
    """Training scans: one of --img-list, --data, --synthetic.

    >>> ScanConfig(folder="scans").img_list is None
    True
    """

    img_list: File = None
    """List of scans: one name per line (paired at random), two names per line (fixed pairs), or a CSV."""
    img_prefix: str = ""
    """Prefix of every name in --img-list."""
    img_suffix: str = ""
    """Suffix of every name in --img-list."""
    seg_prefix: str = ""
    """Prefix that turns a name in --img-list into that of its label map."""
    seg_suffix: str = ""
    """Suffix likewise; without either there are no label maps."""
    labels: File = None
    """npy or text file of the label values that --dice-weight uses, for --img-list."""
    folder: Annotated[str | None, arg(name="data", metavar="DIR")] = None
    """Folder with a dataset.json (Decathlon, Learn2Reg)."""
    synthetic: bool = False
    """Train on random shapes and the MNI template instead of scans."""
    atlas: File = None
    """Scan that is the fixed image of every pair."""
    multichannel: bool = False
    """The last axis of every scan holds channels."""
    reader: Reader = None
    """Your own reader for a file ending, as in .ending=my_module:read."""
