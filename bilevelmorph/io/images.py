"""Conversion of images of other libraries to volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import nibabel as nib
import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import fail
from bilevelmorph.io.headers import affine_of
from bilevelmorph.io.simpleitk import from_sitk
from bilevelmorph.io.volumes import checked, load_volume

if TYPE_CHECKING:
    import SimpleITK

# Everything that functions of this package accept as an image.
ImageLike: TypeAlias = Union[
    str, Path, Volume, nib.spatialimages.SpatialImage, "SimpleITK.Image", tuple[np.ndarray, np.ndarray]
]


def as_volume(image: ImageLike, kind: str = "image", name: str = "image") -> Volume:
    """Convert any kind of image to a Volume.

    Args:
        image: A file name, a nibabel or SimpleITK image, ``(array, affine)`` with
            ``[*S]`` voxels and their ``[4, 4]`` affine in RAS millimetres, or a Volume.
        kind: ``"image"`` or ``"labels"``; ignored for a Volume, which has its own kind.
        name: Name for messages, if the image has none.

    Returns:
        The volume; images are converted to float32, a Volume is returned unchanged.

    Raises:
        InputError: The argument is not an image, or it cannot be registered.

    >>> volume = as_volume((np.arange(12.0).reshape(3, 4), np.diag([2.0, 2.0, 1.0, 1.0])))
    >>> volume.shape, volume.spacing.tolist(), volume.data.dtype.name
    ((3, 4), [2.0, 2.0], 'float32')
    """
    if isinstance(image, Volume):
        return image
    if isinstance(image, (str, Path)):
        return load_volume(image, kind)
    if isinstance(image, nib.spatialimages.SpatialImage):
        header = image.header if isinstance(image.header, nib.Nifti1Header) else None
        known = str(image.get_filename() or name)
        return checked(np.asanyarray(image.dataobj), affine_of(image), kind, known, header)
    if isinstance(image, tuple) and len(image) == 2:
        return checked(np.asarray(image[0]), np.asarray(image[1], float), kind, name)
    if type(image).__module__.startswith("SimpleITK"):
        return checked(*from_sitk(image), kind, name)
    came = "an array without an affine" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
    expected = "a file's name, a nibabel or SimpleITK image, or a Volume"
    raise fail(name, came, expected, "give an array as (array, affine)")
