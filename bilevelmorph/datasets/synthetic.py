"""Synthetic training pairs: random shapes and the MNI template, deformed and with random contrast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bilevelmorph.datasets.mni_template import mni152
from bilevelmorph.datasets.phantoms import corrupt, fold, random_contrast, random_displacement, random_shapes
from bilevelmorph.errors import one_of
from bilevelmorph.ops.grid import coordinates
from bilevelmorph.ops.warping import warp

LEVELS = 12


class SyntheticPairDataset:
    """Pairs of one random anatomy under two deformations and two contrasts.

    The network sees the images, while the objective compares the anatomical
    positions of their voxels, so contrast does not matter.

    Args:
        shape: 3-D grid of the pairs.
        seed: Random seed.
        amplitude: Largest standard deviation of the velocities in voxels.
        target: What the objective compares: ``"position"``, the anatomical position of every voxel, or
            ``"anatomy"``, an image of the anatomy that has the same contrast on both sides and no noise.

    Reference: after Hoffmann et al., SynthMorph, TMI 2022.

    >>> source = SyntheticPairDataset((16, 16, 16))
    >>> batch = source.dataset(0, 10, batch_size=2).element_spec[1]
    >>> batch["moving"].shape.as_list(), batch["moving_target"].shape.as_list()
    ([2, 16, 16, 16, 1], [2, 16, 16, 16, 3])
    """

    channels = 1

    def __init__(
        self,
        shape: Sequence[int] = (64, 64, 64),
        seed: int = 0,
        amplitude: float = 3.0,
        target: str = "position",
    ) -> None:
        self.target = one_of("target", target, ("position", "anatomy"))
        self.shape, self.seed, self.amplitude = tuple(shape), seed, amplitude
        t1 = mni152(1)["t1"].data
        self._template = tf.constant(np.round(t1 * 255).astype(np.uint8)[None, ..., None])
        # Traced once, because tracing takes as long as twenty pairs and every epoch creates a dataset.
        self._draw = tf.function(
            self.pair, [tf.TensorSpec([2], tf.int32)], autograph=False
        ).get_concrete_function()

    def dataset(self, start: int, stop: int, batch_size: int = 1) -> tf.data.Dataset:
        """Batches for steps start..stop-1.

        Returns:
            A dataset of ``(step, batch)``: the images ``moving`` and ``fixed``,
            ``[B, *shape, 1]``, and what the objective compares, ``moving_target`` and
            ``fixed_target``: positions, ``[B, *shape, 3]`` voxels, or anatomies, ``[B, *shape, 1]``.
        """
        return self.batches(tf.data.Dataset.range(start, stop), batch_size)

    def batches(self, steps: tf.data.Dataset, batch_size: int = 1) -> tf.data.Dataset:
        """Batches for a dataset of steps, as of `dataset`."""

        def batch(step: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            items = []
            for i in range(batch_size):
                seed = tf.stack([self.seed * 1009 + i, tf.cast(step, tf.int32)])
                items.append(self._draw(seed))
            parts = [tf.concat(p, 0) for p in zip(*items, strict=True)]
            names = ("moving", "fixed", "moving_target", "fixed_target")
            return step, dict(zip(names, parts, strict=True))

        return steps.map(batch, num_parallel_calls=1, deterministic=True).prefetch(2)

    def pair(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """One pair: moving, fixed, and the targets of both."""
        choice = tf.random.stateless_uniform([6], fold(seed, 0))
        fields = [self._field(fold(seed, 10 + i), choice[4]) for i in range(2)]
        levels = tf.cond(
            choice[0] < 0.5,
            lambda: tf.concat([self._shapes(u, seed, choice[1]) for u in fields], 0),
            lambda: tf.concat([self._brain(u, seed, choice[1]) for u in fields], 0),
        )
        levels = tf.ensure_shape(levels, [2, *self.shape, 1])
        same = choice[2] < 0.5
        seeds = [fold(seed, 20), tf.where(same, fold(seed, 20), fold(seed, 21))]
        images = [self._image(levels[i : i + 1], seeds[i], fold(seed, 30 + i), choice) for i in range(2)]
        if self.target == "anatomy":
            anatomy = levels / (LEVELS - 1)
            return images[0], images[1], anatomy[:1], anatomy[1:]
        mesh = self._linear(tf.eye(3))
        return images[0], images[1], mesh + fields[0], mesh + fields[1]

    def _field(self, seed: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
        """A small affine map and a diffeomorphism, as displacement ``[1, *S, 3]``."""
        wide = random_displacement(self.shape, self.amplitude * strength, 32, fold(seed, 0), 5)
        fine = random_displacement(self.shape, self.amplitude * strength / 3, 12, fold(seed, 1), 5)
        matrix = 0.025 * tf.random.stateless_normal([3, 3], fold(seed, 2))
        shift = 0.5 * tf.random.stateless_normal([3], fold(seed, 3))
        return wide + fine + self._linear(matrix) + shift

    def _linear(self, matrix: tf.Tensor) -> tf.Tensor:
        """``matrix @ (x - centre)`` at every voxel, ``[1, *S, 3]``."""
        mesh = [m - (n - 1) / 2 for m, n in zip(coordinates(list(self.shape)), self.shape, strict=True)]
        grid = tf.stack([tf.broadcast_to(m, self.shape) for m in mesh], -1)
        return tf.linalg.matvec(matrix, grid)[None]

    def _shapes(self, field: tf.Tensor, seed: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Random blobs of one of three sizes, on a background that may be empty."""
        maps = [random_shapes(self.shape, LEVELS, s, fold(seed, 40)) for s in (8, 16, 28)]
        index = tf.cast(tf.minimum(size * 3, 2.0), tf.int32)
        return tf.cast(warp(tf.stack(maps)[index], field, "nearest"), tf.float32)

    def _brain(self, field: tf.Tensor, seed: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The template under a random linear map and shift, as smooth levels."""
        millimetres = 0.8 + 1.7 * size
        turn = tf.eye(3) + 0.1 * tf.random.stateless_normal([3, 3], fold(seed, 41))
        room = tf.constant([60.0, 70.0, 55.0]) * (1 - size)
        place = tf.random.stateless_uniform([3], fold(seed, 42), -1.0, 1.0) * room
        mesh = self._linear(tf.eye(3))
        inside = tf.linalg.matvec(turn * millimetres, mesh + field)
        middle = (tf.constant(self._template.shape.as_list()[1:-1], tf.float32) - 1) / 2
        corner = (tf.constant(self.shape, tf.float32) - 1) / 2
        displacement = inside + place + middle - (mesh + corner)
        grey = warp(tf.cast(self._template, tf.float32), displacement, fill_value=0.0) / 255
        return grey * (LEVELS - 1)

    def _image(self, levels: tf.Tensor, paint: tf.Tensor, noise: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
        image = random_contrast(levels, LEVELS, paint, ordered=choice[5] < 0.5)
        stripped = tf.cast(levels > 0.5, tf.float32)
        image = tf.where(choice[3] < 0.6, image * stripped, image)
        return corrupt(image, noise, noise=0.1)
