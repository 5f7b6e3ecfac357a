"""Random deformations, shapes and contrasts in stateless TensorFlow: the seed determines the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.resizing import resize, resize_field
from bilevelmorph.ops.windows import window_sum


def fold(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Derive a new seed from a seed and a number."""
    return tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), number)


def smooth_noise(shape: Sequence[int], spacing: float, channels: int, seed: tf.Tensor) -> tf.Tensor:
    """Gaussian noise on a coarse grid, upsampled.

    Args:
        shape: Spatial sizes of the result.
        spacing: Voxels between the points of the coarse grid.
        channels: Channels of the result.
        seed: ``[2]`` int32.

    Returns:
        ``[1, *shape, channels]``, standard deviation about 1 at the coarse points.

    >>> smooth_noise([8, 8], 4, 2, tf.constant([0, 1])).shape.as_list()
    [1, 8, 8, 2]
    """
    coarse = [max(2, round(n / spacing) + 1) for n in shape]
    return resize(tf.random.stateless_normal([1, *coarse, channels], seed), list(shape), align="corners")


def random_displacement(
    shape: Sequence[int], amplitude: Any, spacing: float, seed: tf.Tensor, steps: int = 6
) -> tf.Tensor:
    """A random diffeomorphism, integrated from smooth noise at two scales.

    Args:
        shape: Spatial sizes.
        amplitude: Standard deviation of the velocity in voxels.
        spacing: Spacing of the coarse grid of the noise, voxels; noise on a grid of half this
            spacing is added with a third of the amplitude.
        seed: ``[2]`` int32.
        steps: Number of scaling-and-squaring steps.

    Returns:
        ``[1, *shape, N]`` voxels. Negating `amplitude` gives the inverse.

    >>> u = random_displacement([16, 16], 1.0, 8, tf.constant([0, 1]))
    >>> u.shape.as_list()
    [1, 16, 16, 2]
    """
    n = len(shape)
    half = [max(2, -(-s // 2)) for s in shape]
    velocity = smooth_noise(half, spacing / 2, n, fold(seed, 0))
    velocity += smooth_noise(half, spacing / 4, n, fold(seed, 1)) / 3
    # Averaging smooths the kinks of the piecewise linear noise.
    velocity = window_sum(velocity, 3) / window_sum(tf.ones_like(velocity[..., :1]), 3)
    displacement = integrate(velocity * (amplitude / 2), steps)
    return resize_field(displacement, list(shape))


def random_shapes(shape: Sequence[int], labels: int, spacing: float, seed: tf.Tensor) -> tf.Tensor:
    """A label map of random blobs: each voxel has the index of the largest of several noise images.

    Args:
        shape: Spatial sizes.
        labels: Number of labels; the values are 0..labels-1.
        spacing: Typical size of a blob in voxels.
        seed: ``[2]`` int32.

    Returns:
        ``[1, *shape, 1]`` int32.

    Reference: Hoffmann et al., SynthMorph, TMI 2022.

    >>> int(tf.reduce_max(random_shapes([16, 16], 4, 4, tf.constant([0, 1])))) <= 3
    True
    """
    noise = smooth_noise(shape, spacing, labels, fold(seed, 0))
    noise += 0.5 * smooth_noise(shape, spacing / 2, labels, fold(seed, 1))
    return tf.argmax(noise, -1, output_type=tf.int32)[..., None]


def random_contrast(levels: tf.Tensor, count: int, seed: tf.Tensor, ordered: Any = False) -> tf.Tensor:
    """Replace levels by random grey values.

    Args:
        levels: ``[1, *S, 1]`` real numbers in [0, count - 1]; grey values are
            interpolated between whole numbers.
        count: Number of grey levels.
        seed: ``[2]`` int32.
        ordered: Whether grey values increase with the levels; bool or scalar tensor.

    Returns:
        ``[1, *S, 1]`` in [0, 1].

    >>> random_contrast(tf.ones([1, 4, 4, 1]), 3, tf.constant([0, 1])).shape.as_list()
    [1, 4, 4, 1]
    """
    grey = tf.random.stateless_uniform([count], seed)
    rising = tf.cumsum(tf.random.stateless_uniform([count], fold(seed, 1)) + 0.1)
    rising = (rising - rising[0]) / (rising[-1] - rising[0])
    grey = tf.where(tf.cast(ordered, tf.bool), rising, grey)
    low = tf.floor(levels)
    index = tf.cast(low, tf.int32)
    below = tf.gather(grey, tf.clip_by_value(index, 0, count - 1))
    above = tf.gather(grey, tf.clip_by_value(index + 1, 0, count - 1))
    return below + (levels - low) * (above - below)


def corrupt(image: tf.Tensor, seed: tf.Tensor, bias: float = 0.3, noise: float = 0.05) -> tf.Tensor:
    """Add scanner effects: a bias field, blur and noise; then rescale to [0, 1].

    Args:
        image: ``[1, *S, 1]`` in [0, 1].
        seed: ``[2]`` int32.
        bias: Standard deviation of the logarithm of the bias field.
        noise: Largest standard deviation of the noise.

    Returns:
        ``[1, *S, 1]`` in [0, 1].

    >>> float(tf.reduce_max(corrupt(tf.ones([1, 8, 8, 1]), tf.constant([0, 1])))) <= 1
    True
    """
    shape = image.shape.as_list()[1:-1]
    image = image * tf.exp(bias * smooth_noise(shape, max(shape) / 2, 1, fold(seed, 0)))
    soft = window_sum(image, 3) / window_sum(tf.ones_like(image), 3)
    mix = tf.random.stateless_uniform([], fold(seed, 1))
    image = image + mix * (soft - image)
    level = noise * tf.random.stateless_uniform([], fold(seed, 2))
    image = image + level * tf.random.stateless_normal(tf.shape(image), fold(seed, 3))
    low, high = tf.reduce_min(image), tf.reduce_max(image)
    return (image - low) / tf.maximum(high - low, 1e-6)
