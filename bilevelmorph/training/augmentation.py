"""Random augmentation of training pairs, fully determined by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from bilevelmorph.datasets.phantoms import random_contrast
from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.warping import affine_displacement, warp

# Number of grey values between which a random contrast interpolates.
LEVELS = 12


@dataclass(frozen=True)
class Augmentation:
    """Random affine maps, shifts, mirror images and contrasts; a strength of 0 switches a part off.

    Args:
        affine: Standard deviation of the entries of a random linear map, sampled
            for the pair and, at half strength, for each image.
        shift: Standard deviation of the random shift in voxels, sampled in the same way.
        intensity: Standard deviation of the logarithm of the gamma exponent,
            sampled for each image.
        contrast: Probability that an image gets a random contrast, in which tissues may change
            their order of brightness. The objective compares the images without it.
        flip: Probability that a pair is mirrored, for each axis.

    >>> Augmentation().active
    False
    """

    affine: float = 0.0
    shift: float = 0.0
    intensity: float = 0.0
    contrast: float = 0.0
    flip: float = 0.0

    @property
    def active(self) -> bool:
        return max(self.affine, self.shift, self.intensity, self.contrast, self.flip) > 0

    def __call__(self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Augment a batch of pairs.

        Args:
            batch: ``moving`` and ``fixed``, ``[B, *S, C]`` in [0, 1], and optionally
                one-hot ``moving_labels`` and ``fixed_labels`` and the targets of the objective,
                ``moving_target`` and ``fixed_target``, which are warped as well.
            seed: ``[2]`` int32.

        Returns:
            The augmented batch.
        """
        out = dict(batch)
        if not self.active:
            return out
        seeds = _split(seed, 8)
        if self.flip:
            self._mirror(out, seeds[5])
        if self.affine or self.shift:
            common = self._matrix(out["moving"], seeds[0], 1.0)
            for side, s in (("moving", seeds[1]), ("fixed", seeds[2])):
                matrix = common + self._matrix(out[side], s, 0.5)
                field = affine_displacement(matrix, spatial_shape(out[side]))
                for name in (side, f"{side}_labels", f"{side}_target"):
                    if name in out:
                        out[name] = warp(out[name], field)
        if self.intensity:
            for side, s in (("moving", seeds[3]), ("fixed", seeds[4])):
                out[side] = self._gamma(out[side], s)
        if self.contrast:
            for side, s in (("moving", seeds[6]), ("fixed", seeds[7])):
                out.setdefault(f"{side}_target", out[side])
                given = random_contrast(out[side] * (LEVELS - 1), LEVELS, s)
                out[side] = tf.where(_uniform(s) < self.contrast, given, out[side])
        return out

    def _mirror(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> None:
        """Mirror everything in a batch along the same axes."""
        rank = batch["moving"].shape.rank - 2
        for axis, s in enumerate(_split(seed, rank), 1):
            mirrored = _uniform(s) < self.flip
            for name, x in batch.items():
                batch[name] = tf.where(mirrored, tf.reverse(x, [axis]), x)

    def _matrix(self, x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
        """A random ``[B, N, N + 1]`` map around half the identity; the sum of two is near the identity."""
        n = x.shape.rank - 2
        noise = tf.random.stateless_normal([tf.shape(x)[0], n, n + 1], seed) * strength
        scale = tf.constant([[self.affine] * n + [self.shift]])
        return 0.5 * tf.eye(n, n + 1) + noise * scale

    def _gamma(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(x)[0]] + [1] * (x.shape.rank - 1)
        exponent = tf.exp(tf.random.stateless_normal(shape, seed) * self.intensity)
        return tf.pow(tf.maximum(x, 1e-6), exponent)


def _uniform(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([], tf.random.experimental.stateless_fold_in(seed, 99))


def _split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    return [tf.random.experimental.stateless_fold_in(seed, i) for i in range(count)]
