"""A volume: voxels, their affine and their kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bilevelmorph.errors import fail, one_of

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialHeader

KINDS = ("image", "labels")


# A kilometre; what lies further is no position of a scanner.
MOST_MM = 1e6


def check_affine(affine: np.ndarray, name: str) -> None:
    """Refuse a matrix that is not a valid affine from voxels to world positions.

    >>> check_affine(np.eye(4), "scan")
    """
    if np.shape(affine) != (4, 4):
        raise fail(f"affine of {name}", f"shape {np.shape(affine)}", "(4, 4)")
    if not np.isfinite(np.asarray(affine, float)).all():
        raise fail(f"affine of {name}", "NaN or infinite entries", "finite ones")
    if np.abs(np.asarray(affine, float)).max() > MOST_MM:
        raise fail(f"affine of {name}", f"entries above {MOST_MM:g} mm", "positions in millimetres")
    if np.abs(np.asarray(affine, float)[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise fail(f"affine of {name}", f"the last row {np.asarray(affine)[3].tolist()}", "0 0 0 1")
    matrix = np.asarray(affine, float)[:3, :3]
    sizes = np.linalg.norm(matrix, axis=0)
    if not sizes.all() or abs(np.linalg.det(matrix / sizes)) < 1e-6:
        raise fail(f"affine of {name}", "a singular matrix", "one that can be inverted")


def axial(affine: np.ndarray) -> bool:
    """Whether the first two axes of a grid lie in the plane of x and y, the two of 2-D positions.

    >>> axial(np.diag([2.0, 2.0, 3.0, 1.0])), axial(np.eye(4)[[0, 2, 1, 3]])
    (True, False)
    """
    matrix = np.asarray(affine, float)[:3, :3]
    rest = np.abs(np.concatenate([matrix[2, :2], matrix[:2, 2]])).max()
    return bool(rest < 1e-6 * np.abs(matrix).max())


@dataclass(frozen=True)
class Volume:
    """An image or a label map that always carries its affine.

    Args:
        data: ``[*S]`` array, 2-D or 3-D; channels are Volumes of their own.
        affine: ``[4, 4]``, voxel index to world position in millimetres, RAS.
        kind: ``"image"`` (linear interpolation) or ``"labels"`` (nearest neighbour).
        name: Name for messages.
        header: The nibabel header of the file, if any.
        offset: What was subtracted from all intensities of the file, whose differences float32 would lose.

    >>> Volume(np.zeros([4, 5, 6]), np.diag([2.0, 1.0, 1.0, 1.0])).spacing.tolist()
    [2.0, 1.0, 1.0]
    """

    data: np.ndarray
    affine: np.ndarray
    kind: str = "image"
    name: str = "volume"
    header: SpatialHeader | None = field(default=None, repr=False, compare=False)
    offset: float = field(default=0.0, repr=False, compare=False)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        check_affine(self.affine, self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial sizes."""
        return tuple(self.data.shape)

    @property
    def ndims(self) -> int:
        """2 or 3."""
        return self.data.ndim

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along each axis in millimetres."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(0))[: self.ndims]

    @property
    def centre(self) -> np.ndarray:
        """World position of the middle of the grid, in millimetres."""
        middle = np.zeros(3)
        middle[: self.ndims] = (np.array(self.shape) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    def with_data(self, data: np.ndarray, kind: str | None = None) -> Volume:
        """A volume with other voxels on the same grid."""
        return Volume(data, self.affine, kind or self.kind, self.name, self.header)
