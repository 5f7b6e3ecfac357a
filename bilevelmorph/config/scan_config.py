"""The scans that are paired for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.config.flags import File, Reader


@dataclass(frozen=True)
class ScanConfig:
    """Training scans: one of --img-list, --data, --synthetic, --mix.

    >>> ScanConfig(folder="scans").img_list is None
    True
    """

    img_list: File = None
    """List of scans: one name per line (paired at random), two names per line (fixed pairs), or a CSV."""
    img_prefix: str = ""
    """Prefix added to every name in --img-list."""
    img_suffix: str = ""
    """Suffix added to every name in --img-list."""
    seg_prefix: str = ""
    """Prefix added to a name in --img-list to give that of its label map."""
    seg_suffix: str = ""
    """The same for a suffix; without --seg-prefix and --seg-suffix there are no label maps."""
    labels: File = None
    """npy or text file with the label values in --img-list that --dice-weight uses."""
    folder: Annotated[str | None, arg(name="data", metavar="DIR")] = None
    """Folder with a dataset.json (Decathlon, Learn2Reg)."""
    synthetic: bool = False
    """Train on random shapes and the MNI template instead of scans."""
    mix: Annotated[tuple[str, ...], arg(metavar="SOURCE ...")] = ()
    """Several sources with their relative frequencies, each DIR[@MM][=WEIGHT] (scans of a folder with
    a dataset.json, resampled to voxels of MM millimetres) or synthetic[=WEIGHT]."""
    atlas: File = None
    """Scan to use as the fixed image of every pair."""
    multichannel: bool = False
    """The last axis of every scan holds channels."""
    reader: Reader = None
    """Function that reads files with a new extension, such as .ending=my_module:read."""
