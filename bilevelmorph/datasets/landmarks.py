"""Landmarks of scans, and their distances after registration."""

from __future__ import annotations

import numpy as np

from bilevelmorph.data.geometry import transform_points
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.pairs import Subject
from bilevelmorph.errors import fail
from bilevelmorph.io.points import read_points


def landmarks_of(subject: Subject, image: Volume) -> np.ndarray:
    """The landmarks of a scan.

    Args:
        subject: Files of the scan. Landmarks with a header ``x,y,z`` are millimetres (RAS), those
            without one, as in Learn2Reg, voxels of the image.
        image: Its image.

    Returns:
        World positions, ``[P, N]`` mm.

    Raises:
        InputError: There are none, or the file cannot be read.
    """
    if subject.points is None:
        raise fail(str(subject.image), "no landmarks", "landmarksTr/NAME.csv or keypointsTr/NAME.csv")
    positions, _, voxels = read_points(subject.points, image.ndims)
    if voxels and positions.shape[1] != image.ndims:
        came = f"{positions.shape[1]} columns for a {image.ndims}-D image"
        raise fail(str(subject.points), came, "one for each axis")
    return transform_points(image.affine, positions)[:, : positions.shape[1]] if voxels else positions


def landmark_pair(moving: Subject, fixed: Subject, images: tuple[Volume, Volume]) -> list[np.ndarray]:
    """The landmarks of a moving and a fixed scan, two lists of world positions ``[P, N]``, mm.

    Args:
        moving, fixed: Files of the scans.
        images: Their images, the moving one first.

    Raises:
        InputError: The numbers of points differ, or see `landmarks_of`.
    """
    found = [landmarks_of(s, image) for s, image in zip((moving, fixed), images, strict=True)]
    if len(found[0]) != len(found[1]):
        came = f"{len(found[0])} landmarks, and {len(found[1])} of {fixed.name}"
        raise fail(moving.name, came, "the same points in the same order")
    return found
