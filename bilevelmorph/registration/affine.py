"""Rigid and affine alignment by the local correlation of blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from bilevelmorph.data.geometry import centre_translation
from bilevelmorph.data.preprocessing import PERCENTILES
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError, argument, one_of
from bilevelmorph.registration.block_correlation import BlockCorrelation
from bilevelmorph.registration.linear_descent import descend

MODES = ("none", "rigid", "affine")
# Approximate voxels along each side of the images, and voxels from block to block, from coarse to fine.
_LEVELS = ((16, 2), (32, 3), (64, 4))
# Standard deviation, voxels, by which the images of each level are smoothed.
_SMOOTHING = 0.7
# Blocks at most, where maps are refined and where starts are compared.
_BLOCKS, _FEW = 700, 100
# How many other orientations are refined, and the share of the mismatch upright that the best of them may
# have. On pairs of the hippocampus, of brains and of mice, those that were turned had at most 0.73 of it,
# those that were not at least 0.98.
_TURNS, _MARGIN = 12, 0.85
# After the affine step, pairs of the hippocampus, of brains and of mice had mismatches of at most 0.45 and
# 0.59 of what is usual when turned; images of different things, or noise, at least 0.56 and 0.76. Round
# things look the same when turned, so both count. One of how many orientations says what is usual.
_MATCH, _UNLIKE = 0.5, 0.68
_EACH = {2: 1, 3: 7}
# Relative gain of a step at which the search for the best start ends.
_ROUGHLY = 0.02


class _Pair(NamedTuple):
    """Two images of about the same number of voxels per side, and the weights of their voxels."""

    fixed: Volume
    moving: Volume
    fixed_weight: np.ndarray | None
    moving_weight: np.ndarray | None

    def thinned(self, side: int) -> _Pair:
        weights = []
        for image, weight in ((self.fixed, self.fixed_weight), (self.moving, self.moving_weight)):
            weights.append(None if weight is None else _thinned(image.with_data(weight), side).data)
        return _Pair(_thinned(self.fixed, side), _thinned(self.moving, side), *weights)

    def in_plane(self, to_plane: np.ndarray) -> _Pair:
        """Slices as volumes of one voxel in depth, in a world whose plane z = 0 is theirs."""
        if self.fixed.ndims == 3:
            return self
        images = []
        for image in (self.fixed, self.moving):
            affine = to_plane @ image.affine
            affine[2, [0, 1, 3]] = 0
            images.append(Volume(image.data[..., None], affine, image.kind, image.name))
        weights = [None if w is None else w[..., None] for w in (self.fixed_weight, self.moving_weight)]
        return _Pair(images[0], images[1], *weights)


class _Frame(NamedTuple):
    """The origin and the unit of positions in the fixed image, millimetres; see `BlockCorrelation`."""

    centre: np.ndarray
    radius: float

    def inside(self, matrix: np.ndarray) -> np.ndarray:
        """``[3, 4]`` of a ``[4, 4]`` map between the worlds."""
        return np.column_stack([matrix[:3, :3] * self.radius, matrix[:3, :3] @ self.centre + matrix[:3, 3]])

    def outside(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `inside`."""
        linear = matrix[:, :3] / self.radius
        return np.vstack([np.column_stack([linear, matrix[:, 3] - linear @ self.centre]), [0, 0, 0, 1]])


def align(
    moving: Volume,
    fixed: Volume,
    mode: str = "affine",
    start: str = "header",
    mask: np.ndarray | None = None,
    moving_mask: np.ndarray | None = None,
) -> np.ndarray:
    """Find the world matrix that maps `fixed` onto `moving`.

    Several initial placements (by the headers, the centres of the grids and the centres of mass, this
    last one also turned about all axes) are refined on coarse images by the squared correlation of
    blocks; the best is refined from coarse to fine.

    Args:
        moving, fixed: Images, both 3-D or both 2-D, in planes that are parallel.
        mode: ``"none"`` (only the initial placement), ``"rigid"`` or ``"affine"``.
        start: Initial placement: ``"header"`` trusts the world coordinates, ``"centre"`` aligns the
            centres of the grids.
        mask, moving_mask: Masks on the grids of both images; the similarity is computed inside them.

    Returns:
        ``[4, 4]`` matrix from the world of `fixed` to the world of `moving`, millimetres, RAS.

    Raises:
        InputError: The images do not overlap, or show nothing.

    >>> from scipy.ndimage import gaussian_filter
    >>> scan = gaussian_filter(np.random.default_rng(0).random((32, 32, 32)), 3)
    >>> place = np.eye(4)
    >>> place[:3, 3] = 2, -1, 0.5
    >>> align(Volume(scan, place), Volume(scan, np.eye(4)), "rigid")[:3, 3].round(2).tolist()
    [2.0, -1.0, 0.5]
    """
    one_of("affine", mode, MODES)
    one_of("init", start, ("header", "centre"))
    initial = centre_translation(moving, fixed) if start == "centre" else np.eye(4)
    if mode == "none":
        return initial
    starts = [initial, centre_translation(moving, fixed)]
    to_plane = _plane(fixed)
    pair = _Pair(fixed, moving, mask, moving_mask).in_plane(to_plane)
    ndims, (pyramid, frame) = fixed.ndims, _pyramid(pair)
    starts = [to_plane @ m @ np.linalg.inv(to_plane) for m in starts]
    (matrix, mismatch), turned = _placements(pyramid, frame, starts, ndims)
    if turned[1] < _MARGIN * mismatch:
        matrix = turned[0]
    for level, (_, stride) in zip(pyramid, _LEVELS, strict=True):
        rigid = mode == "rigid" or level is pyramid[0]
        matrix, mismatch = descend(_similarity(level, frame, stride, _BLOCKS), matrix, rigid, ndims)
    if not np.isfinite(mismatch):
        raise InputError(
            f"the {mode} alignment failed, because the images hardly overlap or show nothing; "
            f"set {argument('affine', 'none')}, or use images that overlap more"
        )
    found = frame.outside(matrix)
    if ndims == 2:  # from slice to slice
        found[2, 3] = (to_plane @ (moving.affine - fixed.affine))[2, 3]
    return np.linalg.inv(to_plane) @ found @ to_plane


def seems_turned(moving: Volume, fixed: Volume, matrix: np.ndarray) -> bool:
    """Whether the images would be much more similar if one were turned.

    Args:
        moving, fixed: Images, see `align`.
        matrix: ``[4, 4]`` present placement, from the world of `fixed` to the world of `moving`.

    >>> scan = np.zeros((24, 24, 24), np.float32)
    >>> scan[4:20, 8:16, 10:14], scan[12:16, 8:16, 14:18] = 1, 2
    >>> upright, turned = Volume(scan, np.eye(4)), Volume(np.rot90(scan).copy(), np.eye(4))
    >>> seems_turned(upright, upright, np.eye(4)), seems_turned(turned, upright, np.eye(4))
    (False, True)
    """
    to_plane = _plane(fixed)
    pyramid, frame = _pyramid(_Pair(fixed, moving, None, None).in_plane(to_plane))
    starts = [to_plane @ matrix @ np.linalg.inv(to_plane)]
    upright, turned = _placements(pyramid, frame, starts, fixed.ndims)
    return turned[1] < _MARGIN * upright[1]


def seems_unlike(moving: Volume, fixed: Volume, matrix: np.ndarray, known: np.ndarray | None = None) -> bool:
    """Whether two images match hardly better than if one were turned at random, and not well.

    Args:
        moving, fixed: Images, see `align`.
        matrix: ``[4, 4]`` placement, from the world of `fixed` to the world of `moving`.
        known: Bool on the grid of `fixed`, where the moving image reaches.

    >>> scan = np.random.default_rng(0).random((2, 24, 24, 24)).cumsum(1).cumsum(2) % 7
    >>> one, other = (Volume(x.astype(np.float32), np.eye(4)) for x in scan)
    >>> seems_unlike(one, one, np.eye(4)), seems_unlike(one, other, np.eye(4))
    (False, True)
    """
    to_plane = _plane(fixed)
    weight = None if known is None else known.astype(np.float32)
    pyramid, frame = _pyramid(_Pair(fixed, moving, weight, None).in_plane(to_plane))
    placed = frame.inside(to_plane @ matrix @ np.linalg.inv(to_plane))
    similarity = _similarity(pyramid[1], frame, _LEVELS[1][1], _FEW)
    mismatch = similarity(placed).value
    if mismatch <= _MATCH:
        return False
    turns = orientations(fixed.ndims)[1 :: _EACH[fixed.ndims]]
    values = [similarity(np.column_stack([placed[:, :3] @ turn, placed[:, 3]])).value for turn in turns]
    usual = [v for v in values if np.isfinite(v)]
    return not usual or not mismatch <= _UNLIKE * np.median(usual)


def _placements(
    pyramid: list[_Pair], frame: _Frame, starts: list[np.ndarray], ndims: int
) -> tuple[tuple[np.ndarray, float], tuple[np.ndarray, float]]:
    """The best placement near the starts and the centres of mass, and the best of turned ones.

    Both with their mismatches.
    """
    coarse, fine = (_similarity(pyramid[i], frame, _LEVELS[i][1], _FEW) for i in (0, 1))
    placed = [frame.inside(m) for m in (*starts, _by_mass(pyramid[-1]))]
    linear, position = placed[-1][:, :3], placed[-1][:, 3]
    turned = [np.column_stack([linear @ turn, position]) for turn in orientations(ndims)[1:]]
    mismatches = [coarse(m).value for m in turned]
    promising = [turned[i] for i in np.argsort(mismatches, kind="stable")[:_TURNS]]
    found = []
    for candidates in (placed, promising):
        refined = [descend(coarse, m, True, ndims, gain=_ROUGHLY) for m in candidates]
        best = min(refined, key=lambda f: f[1])[0]
        found.append(descend(fine, best, True, ndims, gain=_ROUGHLY))
    return found[0], found[1]


def orientations(ndims: int = 3) -> np.ndarray:
    """Rotations ``[K, 3, 3]`` that come within 45 degrees of any other, that without a turn first.

    Those of a cube, by right angles, and of an icosahedron; in the plane by 30 degrees each.

    >>> found = orientations()
    >>> found.shape, bool((found[0] == np.eye(3)).all()), orientations(2).shape
    ((84, 3, 3), True, (12, 3, 3))
    """
    if ndims == 2:
        return Rotation.from_euler("z", range(0, 360, 30), degrees=True).as_matrix()
    cube, icosahedron = (Rotation.create_group(name).as_matrix() for name in "OI")
    found = np.concatenate([cube, icosahedron])
    return found[np.argsort(-np.trace(found, axis1=1, axis2=2), kind="stable")]


def _plane(image: Volume) -> np.ndarray:
    """``[4, 4]`` turn that takes a slice to a plane of constant z; for 3-D images none."""
    matrix = np.eye(4)
    if image.ndims == 2:
        axes, _ = np.linalg.qr(image.affine[:3, :3])
        matrix[:3, :3] = axes.T
    return matrix


def _pyramid(pair: _Pair) -> tuple[list[_Pair], _Frame]:
    """The images from coarse to fine, smoothed, of values from 0 to 1, and where positions are measured."""
    levels: list[_Pair] = []
    for side, _ in reversed(_LEVELS):
        pair = pair.thinned(side)
        if not levels:
            pair = pair._replace(fixed=_scaled(pair.fixed), moving=_scaled(pair.moving))
        levels.insert(0, pair)
    smooth = [p._replace(fixed=_smoothed(p.fixed), moving=_smoothed(p.moving)) for p in levels]
    fixed = pair.fixed
    radius = float(np.linalg.norm(fixed.affine[:3, :3] @ np.array(fixed.shape)) / 4)
    return smooth, _Frame(_centre_of_mass(levels[-1].fixed, levels[-1].fixed_weight), radius)


def _similarity(pair: _Pair, frame: _Frame, stride: int, most: int) -> BlockCorrelation:
    return BlockCorrelation(*pair, centre=frame.centre, radius=frame.radius, stride=stride, most=most)


def _scaled(volume: Volume) -> Volume:
    low, high = np.percentile(volume.data, PERCENTILES)
    return volume.with_data(np.clip((volume.data - low) / max(high - low, 1e-30), 0, 1))


def _smoothed(volume: Volume) -> Volume:
    return volume.with_data(gaussian_filter(volume.data, _SMOOTHING))


def _thinned(volume: Volume, side: int) -> Volume:
    """Means of blocks of voxels, about so many per side."""
    factors = [max(1, round(n / side)) for n in volume.shape]
    data = volume.data
    for axis, factor in enumerate(factors):
        if factor > 1:
            end = data.shape[axis] // factor * factor
            parts = [data[(slice(None),) * axis + (slice(i, end, factor),)] for i in range(factor)]
            total = parts[0].astype(np.float32)
            for part in parts[1:]:
                total += part
            data = total / np.float32(factor)
    scaled = np.diag([*map(float, factors), 1.0])
    scaled[:3, 3] = (np.array(factors) - 1) / 2
    return Volume(data.astype(np.float32), volume.affine @ scaled, "image", volume.name)


def _by_mass(pair: _Pair) -> np.ndarray:
    """The translation between the centres of mass."""
    matrix = np.eye(4)
    matrix[:3, 3] = _centre_of_mass(pair.moving, pair.moving_weight)
    matrix[:3, 3] -= _centre_of_mass(pair.fixed, pair.fixed_weight)
    return matrix


def _centre_of_mass(volume: Volume, weight: np.ndarray | None = None) -> np.ndarray:
    mass = (volume.data - volume.data.min()).astype(np.float64)
    if weight is not None:
        mass *= weight
    total = mass.sum()
    if total <= 0:
        return volume.centre
    index = []
    for axis, n in enumerate(volume.shape):
        profile = mass.sum(tuple(a for a in range(3) if a != axis))
        index.append(float((profile * np.arange(n)).sum() / total))
    return volume.affine[:3, :3] @ np.array(index) + volume.affine[:3, 3]
