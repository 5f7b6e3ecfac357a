"""Random variation of training images, stateless: a seed decides everything."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.warping import affine_displacement, warp


@dataclass(frozen=True)
class Augmentation:
    """How much the images of a pair are varied; zero leaves that part out.

    Args:
        affine: Standard deviation of the entries of a random linear map, drawn
            for the pair and, at half strength, for each image.
        shift: Standard deviation of the shift in voxels, likewise.
        intensity: Standard deviation of the logarithm of the gamma exponent,
            drawn for each image.

    >>> Augmentation().active
    False
    """

    affine: float = 0.0
    shift: float = 0.0
    intensity: float = 0.0

    @property
    def active(self) -> bool:
        return max(self.affine, self.shift, self.intensity) > 0

    def __call__(self, moving: tf.Tensor, fixed: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Vary a batch of pairs.

        Args:
            moving, fixed: ``[B, *S, C]`` in [0, 1].
            seed: ``[2]`` int32.

        Returns:
            The varied pair.
        """
        if not self.active:
            return moving, fixed
        seeds = _split(seed, 5)
        if self.affine or self.shift:
            common = self._matrix(moving, seeds[0], 1.0)
            moving, fixed = (
                warp(x, affine_displacement(common + self._matrix(x, s, 0.5), spatial_shape(x)))
                for x, s in ((moving, seeds[1]), (fixed, seeds[2]))
            )
        if self.intensity:
            moving, fixed = (self._gamma(x, s) for x, s in ((moving, seeds[3]), (fixed, seeds[4])))
        return moving, fixed

    def _matrix(self, x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
        """``[B, N, N + 1]``; half the identity each, so that two add up to a map near it."""
        n = x.shape.rank - 2
        noise = tf.random.stateless_normal([tf.shape(x)[0], n, n + 1], seed) * strength
        scale = tf.constant([[self.affine] * n + [self.shift]])
        return 0.5 * tf.eye(n, n + 1) + noise * scale

    def _gamma(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(x)[0]] + [1] * (x.shape.rank - 1)
        exponent = tf.exp(tf.random.stateless_normal(shape, seed) * self.intensity)
        return tf.pow(tf.maximum(x, 1e-6), exponent)


def _split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    return [tf.random.experimental.stateless_fold_in(seed, i) for i in range(count)]
