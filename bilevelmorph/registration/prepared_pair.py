"""A pair on the grid on which it is registered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bilevelmorph.data.geometry import resample, transform_points
from bilevelmorph.data.volume import Volume


@dataclass(frozen=True)
class PreparedPair:
    """A pair after the linear alignment and normalisation, before its deformation.

    Attributes:
        fixed: The fixed image, ``[*S]``, normalised.
        moving: The moving image on the same grid, ``[*S]``, normalised.
        affine: ``[4, 4]`` matrix from world positions of the fixed to those of the moving image, mm.
        known: Bool ``[*S]``, where the moving image reaches, if it covers only a part of the fixed one;
            `fixed` is then zero elsewhere.

    >>> still = PreparedPair(Volume(np.zeros((8, 8)), np.eye(4)), np.zeros((8, 8)), np.eye(4))
    >>> int(still.labels(Volume(np.eye(8, dtype=int), np.eye(4), "labels"), moving=True).sum())
    8
    """

    fixed: Volume
    moving: np.ndarray
    affine: np.ndarray
    known: np.ndarray | None = None

    def labels(self, labels: Volume, moving: bool = False) -> np.ndarray:
        """A label map of one of the images on the grid of the pair, ``[*S]``."""
        world = self.affine if moving else np.eye(4)
        return resample(labels, self.fixed.shape, self.fixed.affine, world).data

    def points(self, points: np.ndarray, moving: bool = False) -> np.ndarray:
        """World positions in one of the images, ``[P, N]`` mm, as voxels of the grid of the pair."""
        world = self.affine if moving else np.eye(4)
        return transform_points(np.linalg.inv(world @ self.fixed.affine), points)[:, : self.fixed.ndims]
