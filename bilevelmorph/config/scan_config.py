"""Which scans are paired."""

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
    """List of scans: one name a line (random pairs) or two (that pair), or a CSV."""
    img_prefix: str = ""
    """Put before every name."""
    img_suffix: str = ""
    """Put after every name."""
    seg_prefix: str = ""
    """Put before every name of --img-list for its label map."""
    seg_suffix: str = ""
    """Put after it; without either there are no label maps."""
    labels: File = None
    """npy or text: the label values that --dice-weight counts, for --img-list."""
    folder: Annotated[str | None, arg(name="data", metavar="DIR")] = None
    """Folder with a dataset.json (Decathlon, Learn2Reg)."""
    synthetic: bool = False
    """Random shapes and the MNI template, no scans at all."""
    atlas: File = None
    """Scan that is always the fixed one."""
    multichannel: bool = False
    """The last axis of every scan holds channels."""
    reader: Reader = None
    """Your own function that reads files of an ending, as in .ending=my_module:read."""
