"""Local correlation of two images under a linear map, with the derivatives that Newton's method needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bilevelmorph.data.volume import Volume

# Blocks whose standard deviation is smaller, as a share of the image's range, say nothing.
_FLAT = 0.02
# Added to the standard deviation of blocks of the moving image, which may be flat.
_NOISE = 1e-3
# Share of the fixed image that the moving one has to cover at least.
_OVERLAP = 0.25


class Mismatch(NamedTuple):
    """How little the images agree, from 0 to 1, and its derivatives by the twelve numbers of the map.

    Attributes:
        value: Mean over blocks of one minus the squared correlation; infinite where the images hardly
            overlap.
        gradient: ``[12]``.
        curvature: ``[12, 12]``, positive semi-definite: the Gauss-Newton approximation of the Hessian.

    >>> Mismatch(0.25, np.zeros(12), np.eye(12)).value  # a mean squared correlation of 0.75
    0.25
    """

    value: float
    gradient: np.ndarray
    curvature: np.ndarray


class BlockCorrelation:
    """The mean squared correlation of the blocks of one image with those of another under a linear map.

    Within a block, any linear relation of grey values counts as agreement, of either sign, so that images
    of different contrast and with shading can be compared. Each block is compared by projecting its values
    on those of the other image (variable projection), which leaves a least-squares problem.

    Args:
        fixed, moving: 3-D images, values of order one.
        fixed_weight, moving_weight: None, or ``[*S]``: weight of each voxel, 0 to 1.
        centre: World position in the fixed image, millimetres.
        radius: Length by which positions are divided, millimetres, so that all numbers of a map are of
            one order.
        block: Voxels along each side of a block.
        stride: Voxels from one block to the next.
        most: Number of blocks, spread evenly over those that are not flat.

    Reference: B. Lucas and T. Kanade, An iterative image registration technique, IJCAI 1981; the squared
    correlation of blocks as in S. Ourselin et al., Reconstructing a 3D structure from serial histological
    sections, Image and Vision Computing 2001.

    >>> x = np.random.default_rng(0).random((12, 12, 12), dtype=np.float32)
    >>> fixed, moving = Volume(x, np.eye(4)), Volume(3 - 2 * x, np.eye(4))
    >>> similarity = BlockCorrelation(fixed, moving, centre=np.zeros(3), radius=1.0)
    >>> same, shifted = np.eye(4)[:3], np.eye(4)[:3] + [[0, 0, 0, 1]] * 3
    >>> round(similarity(same).value, 3), similarity(shifted).value > 0.9
    (0.0, True)
    """

    def __init__(
        self,
        fixed: Volume,
        moving: Volume,
        fixed_weight: np.ndarray | None = None,
        moving_weight: np.ndarray | None = None,
        *,
        centre: np.ndarray,
        radius: float,
        block: int = 4,
        stride: int = 4,
        most: int = 1000,
    ) -> None:
        sides = [min(block, n) for n in fixed.shape]
        firsts = _positions([range(0, n - s + 1, stride) for n, s in zip(fixed.shape, sides, strict=True)])
        values = _blocks(fixed.data, sides, stride)
        weights = None if fixed_weight is None else _blocks(fixed_weight.astype(np.float32), sides, stride)
        telling = values.std(1) > _FLAT
        if weights is not None:
            telling &= weights.mean(1) > 0.5
        chosen = np.flatnonzero(telling)
        if len(chosen) > most:
            chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
        self.values = values[chosen]
        self.weights = None if weights is None else weights[chosen]
        voxels = (firsts[chosen][:, None] + _positions([range(s) for s in sides])).reshape(-1, 3)
        world = (voxels @ fixed.affine[:3, :3].T + fixed.affine[:3, 3] - centre) / radius
        points = np.concatenate([world, np.ones((len(world), 1))], 1).astype(np.float32)
        self.points = points.reshape(*self.values.shape, 4)
        self.middles = self.points.mean(1, dtype=np.float64)
        self._columns = np.ascontiguousarray(self.points.transpose(0, 2, 1))
        self._most = float(len(chosen) if self.weights is None else (self.weights.mean(1) ** 4).sum())
        self.shape = moving.shape
        self._to_voxels = np.linalg.inv(moving.affine)
        self._moving = np.ascontiguousarray(moving.data, np.float32).ravel()
        self._moving_weight = None if moving_weight is None else moving_weight.astype(np.float32).ravel()

    def __call__(self, matrix: np.ndarray) -> Mismatch:
        """Compare the images under a map.

        Args:
            matrix: ``[3, 4]``, from positions relative to the centre, in units of the radius, to the
                world of the moving image, millimetres.
        """
        values, slopes, weight = self._sample(matrix)
        share = weight.mean(1) ** 4  # blocks that are partly outside say little
        if share.sum() <= _OVERLAP * (self._most):
            return Mismatch(np.inf, np.zeros(12), np.zeros((12, 12)))
        total = np.maximum(weight.sum(1), 1e-6)
        fixed, _ = _unit(self.values, weight, total, 1e-6)
        values, norm = _unit(values, weight, total, _NOISE)
        correlation = (weight * fixed * values).sum(1)
        blocks = share / share.sum()
        value = float((blocks * (1 - correlation**2)).sum(dtype=np.float64))
        pull = weight * (fixed - correlation[:, None] * values)
        pull *= (-2 * blocks * correlation / norm)[:, None]
        gradient = np.matmul(pull[:, None] * slopes, self.points).sum(0, dtype=np.float64)
        # Within a block, positions count as its middle here, which changes the steps but not the minimum.
        weighted = weight[:, None] * slopes
        mean = weighted.sum(2)
        along = np.matmul(weighted, values[..., None])[..., 0]
        across = np.matmul(weighted, fixed[..., None])[..., 0] - correlation[:, None] * along
        products = np.matmul(weighted, slopes.transpose(0, 2, 1)) - _outer(mean) / total[:, None, None]
        products = (products - _outer(along) - _outer(across)) * (2 * blocks / norm**2)[:, None, None]
        parts = products.reshape(-1, 9).T.astype(np.float64) @ _outer(self.middles).reshape(-1, 16)
        curvature = parts.reshape(3, 3, 4, 4).transpose(0, 2, 1, 3).reshape(12, 12)
        return Mismatch(value, gradient.ravel(), curvature)

    def _sample(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Linear interpolation: values ``[B, n]``, gradients ``[B, 3, n]`` per mm, weights ``[B, n]``."""
        to_voxels = self._to_voxels[:3, :3] @ matrix
        to_voxels[:, 3] += self._to_voxels[:3, 3]
        places = np.matmul(to_voxels.astype(np.float32), self._columns)
        weight = np.ones(self.values.shape, np.float32)
        corner = nearest = np.zeros(weight.shape, np.int32)
        fractions = []
        for axis, n in enumerate(self.shape):
            place = places[:, axis]
            # The weight falls to 0 within one voxel, so that the mean over blocks is continuous.
            weight *= np.clip(np.minimum(place + 1, n - place), 0, 1)
            place = np.clip(place, 0, n - 1)
            low = np.minimum(place.astype(np.int32), max(n - 2, 0))
            fractions.append(place - low)
            corner = corner * n + low
            if self._moving_weight is not None:
                nearest = nearest * n + np.rint(place).astype(np.int32)
        if self.weights is not None:
            weight *= self.weights
        if self._moving_weight is not None:
            weight *= self._moving_weight.take(nearest)
        values, slopes = self._interpolated(corner, fractions)
        return values, np.matmul(self._to_voxels[:3, :3].T.astype(np.float32), slopes), weight

    def _interpolated(self, corner: np.ndarray, fractions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Values and their derivatives by the three indices, from the eight voxels around."""
        strides = (self.shape[1] * self.shape[2], self.shape[2], 1)
        one, two, three = (s if n > 1 else 0 for s, n in zip(strides, self.shape, strict=True))
        a, b, c = fractions
        slopes = np.empty((len(a), 3, a.shape[1]), np.float32)
        sides, falls, rises = [], [], []
        for first in (corner, corner + one):
            ends, steps = [], []
            for index in (first, first + two):
                low = self._moving.take(index)
                step = self._moving.take(index + three) - low
                ends.append(low + step * c)
                steps.append(step)
            falls.append(ends[1] - ends[0])
            sides.append(ends[0] + falls[-1] * b)
            rises.append(steps[0] + (steps[1] - steps[0]) * b)
        slopes[:, 0] = sides[1] - sides[0]
        slopes[:, 1] = falls[0] + (falls[1] - falls[0]) * a
        slopes[:, 2] = rises[0] + (rises[1] - rises[0]) * a
        return sides[0] + slopes[:, 0] * a, slopes


def _positions(axes: list[range]) -> np.ndarray:
    """All combinations, ``[n, 3]``, the last axis fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _outer(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, :, None] * vectors[:, None]


def _blocks(data: np.ndarray, sides: list[int], stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(data, sides)[::stride, ::stride, ::stride]
    return windows.reshape(-1, int(np.prod(sides))).astype(np.float32)


def _unit(
    values: np.ndarray, weight: np.ndarray, total: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values of mean 0 and length 1 in every block, and what their lengths were."""
    values = values - ((weight * values).sum(1) / total)[:, None]
    norm = np.sqrt((weight * values * values).sum(1) + total * np.float32(noise) ** 2)
    return values / norm[:, None], norm
