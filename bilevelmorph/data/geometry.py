"""Positions, resampling and vector fields in world coordinates, with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from bilevelmorph.data.preprocessing import background, to_canonical
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import fail
from bilevelmorph.slabs import over_slabs


def voxel_positions(shape: Sequence[int], rows: slice = slice(None)) -> np.ndarray:
    """The indices of all voxels, or of those in a slab, ``[*shape, N]`` float32.

    Args:
        shape: Sizes of the grid.
        rows: The slab, a slice of the first axis.

    >>> voxel_positions([2, 3])[1, 2].tolist()
    [1.0, 2.0]
    """
    first, *rest = (np.arange(n, dtype=np.float32) for n in shape)
    return np.stack(np.meshgrid(first[rows], *rest, indexing="ij"), -1)


def map_grid(function: Callable[[slice], np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Compute an array on a grid slab by slab.

    Args:
        function: Takes the rows of a slab (a slice of the first axis); returns its part ``[rows, ...]``.
        shape: Sizes of the grid.

    >>> map_grid(lambda rows: voxel_positions([4, 2], rows)[..., 0], [4, 2])[:, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    parts: list[np.ndarray] = []

    def fill(rows: slice) -> None:
        parts[0][rows] = function(rows)

    probe = function(slice(0, 1))
    parts.append(np.empty((shape[0], *probe.shape[1:]), probe.dtype))
    over_slabs(fill, shape)
    return parts[0]


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a ``[4, 4]`` matrix to ``[..., N]`` points, N = 2 or 3 (2-D points lie at z = 0).

    >>> transform_points(np.diag([2.0, 2.0, 2.0, 1.0]), np.array([[1.0, 2.0]])).tolist()
    [[2.0, 4.0]]
    """
    n = points.shape[-1]
    part = matrix[:n, :n].astype(points.dtype)
    return points @ part.T + matrix[:n, 3].astype(points.dtype)


def sample(volume: Volume, positions: np.ndarray, outside: float = 0.0) -> np.ndarray:
    """Sample a volume at voxel positions; its kind determines the interpolation.

    Args:
        volume: An image (linear interpolation) or a label map (nearest neighbour).
        positions: ``[*T, N]`` voxels of `volume`.
        outside: Value at positions more than half a voxel outside the grid.

    Returns:
        ``[*T]``: images in float32, label maps in their own dtype.
    """
    if positions.shape[-1] != volume.ndims:
        raise fail(volume.name, f"{volume.ndims}-D data", f"{positions.shape[-1]}-D like the warp")
    where = np.moveaxis(positions, -1, 0)
    if volume.kind == "labels":
        index = np.rint(where).astype(np.int64)
        last = np.array(volume.shape).reshape(-1, *[1] * (where.ndim - 1)) - 1
        inside = ((index >= 0) & (index <= last)).all(0)
        values = volume.data[tuple(np.clip(index, 0, last))]
        return np.where(inside, values, np.asarray(outside).astype(volume.data.dtype))
    data = np.asarray(volume.data, np.float32)
    values = ndimage.map_coordinates(data, where, order=1, mode="nearest")
    values[outside_of(volume.shape, positions)] = outside
    return values


def outside_of(shape: Sequence[int], positions: np.ndarray) -> np.ndarray:
    """Whether each position lies more than half a voxel outside a grid: bool ``[*T]``.

    >>> outside_of([4], np.array([[-0.4], [3.6]])).tolist()
    [False, True]
    """
    return np.any((positions < -0.5) | (positions > np.array(shape) - 0.5), axis=-1)


def not_covered(size: Sequence[int], mapping: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Which voxels of a grid a linear map takes outside another grid: bool ``[*shape]``.

    Args:
        size: Sizes of the other grid.
        mapping: ``[4, 4]`` matrix from voxels to those of the other grid.
        shape: Sizes of the grid.

    >>> not_covered([3], np.diag([2.0, 1.0, 1.0, 1.0]), [4]).tolist()
    [False, False, True, True]
    """

    def part(rows: slice) -> np.ndarray:
        return outside_of(size, transform_points(mapping, voxel_positions(shape, rows)))

    return map_grid(part, shape)


def warp_volume(
    volume: Volume, displacement: np.ndarray, grid: np.ndarray, fill: float | None = None
) -> Volume:
    """Warp a volume onto the grid of a displacement.

    Args:
        volume: Volume to warp.
        displacement: ``[*T, N]`` voxels of the output grid, pull-back.
        grid: ``[4, 4]`` affine of the output grid.
        fill: Value of what the volume does not cover; by default 0 for label maps, and
            `bilevelmorph.data.preprocessing.background` for images.

    Returns:
        A `Volume` of the same kind on the output grid; label maps keep their dtype.
    """
    if fill is None:
        fill = 0.0 if volume.kind == "labels" else background(volume.data)
    shape, value = displacement.shape[:-1], fill

    def warped(rows: slice) -> np.ndarray:
        return sample(volume, targets_of(displacement, grid, volume.affine, rows), value)

    return Volume(map_grid(warped, shape), grid, volume.kind, volume.name, None)


def targets_of(
    displacement: np.ndarray, grid: np.ndarray, moving: np.ndarray, rows: slice = slice(None)
) -> np.ndarray:
    """Positions that a displacement points to, ``[*T, N]`` voxels of the moving grid.

    Args:
        displacement: ``[*T, N]`` voxels of the output grid.
        grid, moving: ``[4, 4]`` affines of the output and the moving grid.
        rows: A slab, to which the result is restricted.

    >>> targets_of(np.ones([2, 2, 2]), np.eye(4), np.diag([2.0, 2.0, 1.0, 1.0]))[1, 1].tolist()
    [1.0, 1.0]
    """
    positions = voxel_positions(displacement.shape[:-1], rows) + displacement[rows]
    return transform_points(np.linalg.inv(moving) @ grid, positions)


def resample(
    volume: Volume, shape: Sequence[int], grid: np.ndarray, world: np.ndarray, outside: float = 0.0
) -> Volume:
    """Resample a volume onto another grid.

    Args:
        volume: Volume to resample.
        shape, grid: Shape and affine of the output.
        world: ``[4, 4]`` matrix from world positions of the output to those of `volume`, millimetres.
        outside: Value of what the volume does not cover.
    """
    mapping = np.linalg.inv(volume.affine) @ world @ grid
    shift = integer_shift(mapping, volume.ndims)
    if shift is None:
        data = map_grid(
            lambda rows: sample(volume, transform_points(mapping, voxel_positions(shape, rows)), outside),
            shape,
        )
    else:
        data = _shifted(volume.data, shift, shape, outside)
        data = data.astype(np.float32) if volume.kind == "image" else data
    return Volume(data, grid, volume.kind, volume.name, None)


def onto(volume: Volume, image: Volume) -> Volume:
    """A label map or a mask on the voxels of its image, by the affines of both.

    Equal sizes do not mean equal grids: the axes may be stored in another order or direction.

    Args:
        volume: The label map or mask. Without an affine of its own (the identity, as npy files
            have it) it is taken to lie on the voxels of the image.
        image: Its image.

    Returns:
        `volume` itself if the grids agree, else its voxels at the places of those of the image.

    Raises:
        InputError: The grids have different voxels, or do not overlap.

    >>> image, labels = (Volume(np.arange(6).reshape(2, 3), np.eye(4), kind) for kind in ("image", "labels"))
    >>> turned = Volume(labels.data[::-1], np.diag([-1.0, 1.0, 1.0, 1.0]), "labels")
    >>> turned.affine[0, 3] = 1
    >>> np.array_equal(onto(turned, image).data, labels.data)
    True
    """
    if volume.ndims != image.ndims or sorted(volume.shape) != sorted(image.shape):
        raise fail(volume.name, f"shape {volume.shape}", f"that of its image, {image.shape}")
    mapping = np.linalg.inv(volume.affine) @ image.affine
    same = volume.shape == image.shape
    if same and volume.header is None and np.array_equal(volume.affine, np.eye(4)):
        return volume
    corners = voxel_positions([2] * image.ndims).reshape(-1, image.ndims) * (np.array(image.shape) - 1)
    if same and np.abs(transform_points(mapping, corners) - corners).max() < 0.1:
        return volume
    if same is False and to_canonical(volume).shape != to_canonical(image).shape:
        raise fail(volume.name, f"shape {volume.shape}", f"that of its image, {image.shape}")
    moved = resample(volume, image.shape, image.affine, np.eye(4))
    if volume.data.any() and not moved.data.any():
        raise fail(volume.name, "a grid that lies elsewhere", f"the place of {image.name}")
    return Volume(moved.data, image.affine, volume.kind, volume.name, volume.header)


def resample_to_spacing(volume: Volume, spacing: float) -> Volume:
    """Resample to isotropic voxels with the same field of view.

    Images are first smoothed along axes whose voxels grow, to prevent aliasing; label
    maps are resampled by nearest neighbour.

    Args:
        volume: Volume of any spacing.
        spacing: New voxel size in millimetres.

    >>> resample_to_spacing(Volume(np.ones([8, 6, 4]), np.eye(4)), 2.0).shape
    (4, 3, 2)
    """
    n = volume.ndims
    factors = spacing / np.array(volume.spacing)
    if np.allclose(factors, 1, atol=1e-4):
        return volume
    shape = np.maximum(np.rint(np.array(volume.shape) / factors).astype(int), 2)
    scale = np.eye(4)
    scale[range(n), range(n)] = factors
    scale[:n, 3] = (factors - 1) / 2  # the corners of both fields of view coincide
    if volume.kind == "image":
        # This Gaussian roughly halves the amplitude of the highest frequency of the new grid.
        width = 0.5 * np.sqrt(np.maximum(factors**2 - 1, 0))
        volume = volume.with_data(
            ndimage.gaussian_filter(volume.data.astype(np.float32), width, mode="nearest")
        )
    return resample(volume, shape.tolist(), volume.affine @ scale, np.eye(4))


def integer_shift(mapping: np.ndarray, ndims: int) -> np.ndarray | None:
    """The translation of a map between voxels if it is a shift by whole voxels, else None.

    Args:
        mapping: ``[4, 4]`` matrix between voxel positions.
        ndims: 2 or 3.

    >>> matrix = np.eye(4)
    >>> matrix[:3, 3] = 2, -1, 0
    >>> integer_shift(matrix, 3).tolist()
    [2, -1, 0]
    """
    shift = np.rint(mapping[:ndims, 3])
    plain = np.eye(ndims + 1)
    plain[:ndims, -1] = shift
    found = np.eye(ndims + 1)
    found[:ndims, :ndims], found[:ndims, -1] = mapping[:ndims, :ndims], mapping[:ndims, 3]
    return shift.astype(int) if np.allclose(found, plain, rtol=0, atol=1e-6) else None


def _shifted(data: np.ndarray, shift: np.ndarray, shape: Sequence[int], outside: float) -> np.ndarray:
    """``out[x] = data[x + shift]``, filled outside."""
    out = np.full(tuple(shape), outside, data.dtype)
    ranges = [(max(0, -s), min(n, size - s)) for s, n, size in zip(shift, shape, data.shape, strict=True)]
    if all(a < b for a, b in ranges):
        into = tuple(slice(a, b) for a, b in ranges)
        out[into] = data[tuple(slice(a + s, b + s) for (a, b), s in zip(ranges, shift, strict=True))]
    return out


def sample_field(field: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Sample a vector field linearly at voxel positions, repeating its edges: ``[*T, N]``."""
    where = np.moveaxis(positions, -1, 0)
    parts = [
        ndimage.map_coordinates(field[..., c], where, order=1, mode="nearest") for c in range(field.shape[-1])
    ]
    return np.stack(parts, -1)


def read_field(
    field: np.ndarray, shift: np.ndarray, shape: Sequence[int], rows: slice = slice(None)
) -> np.ndarray:
    """Sample a vector field at the voxels of a grid, or of a slab of it, shifted by whole voxels.

    See `sample_field`.

    >>> read_field(np.arange(4.0)[:, None], np.array([2]), [4])[:, 0].tolist()
    [2.0, 3.0, 3.0, 3.0]
    """
    index = [
        np.clip(np.arange(n) + s, 0, size - 1)
        for n, s, size in zip(shape, shift, field.shape[:-1], strict=True)
    ]
    return field[np.ix_(index[0][rows], *index[1:])]


def centre_translation(moving: Volume, fixed: Volume) -> np.ndarray:
    """World matrix that maps the middle voxel of `fixed` onto that of `moving`.

    The middle is defined as in `crop_or_pad` on canonical axes, so that volumes of equal spacing
    are shifted by whole voxels.
    """
    matrix = np.eye(4)
    middles = []
    for volume in map(to_canonical, (moving, fixed)):
        # In an even grid, crop_or_pad() leaves (even - n) // 2 voxels in front, so that
        # voxel (n + 1) // 2 ends up in the same place for every size n.
        index = np.zeros(3)
        index[: volume.ndims] = [(n + 1) // 2 for n in volume.shape]
        middles.append(volume.affine[:3, :3] @ index + volume.affine[:3, 3])
    matrix[:3, 3] = middles[0] - middles[1]
    return matrix
