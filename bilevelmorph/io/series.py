"""Series of volumes over time, in 4-D files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import one_of
from bilevelmorph.io.atomic import atomic_path, suffix
from bilevelmorph.io.headers import place
from bilevelmorph.io.nifti import write_nifti
from bilevelmorph.io.volumes import load_channels

WRITABLE_SERIES = (".nii", ".nii.gz")


def load_series(path: str | Path) -> list[Volume]:
    """Read the frames of a series, the last axis of a file; each is float32.

    Raises:
        InputError: The file holds a single volume, or a frame cannot be registered.
    """
    return load_channels(path, time=True)


def save_series(path: str | Path, frames: Sequence[Volume], header: object = None) -> None:
    """Write frames that share a grid as one file, which appears whole or not at all.

    Args:
        path: File to write (nii, nii.gz).
        frames: The frames.
        header: Header of the series that they were made of, for the time between frames.
    """
    one_of(f"ending of {path}", suffix(path), WRITABLE_SERIES)
    first = frames[0]
    data = np.stack([frame.data for frame in frames], -1)
    if first.ndims == 2:
        data = data[:, :, None]
    image = place(nib.Nifti1Image(data, first.affine), first.affine, first.header)
    if isinstance(header, nib.Nifti1Header) and len(header.get_zooms()) == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], header.get_zooms()[3]))
        image.header.set_xyzt_units("mm", header.get_xyzt_units()[1])
    with atomic_path(path) as temporary:
        write_nifti(temporary, image)
