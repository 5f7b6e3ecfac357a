"""Sums and means over local windows, one axis after another."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.xla import xla_jit


def window_sum(x: tf.Tensor, width: int) -> tf.Tensor:
    """Sum over a cubic window around each voxel, with zeros outside.

    Adds shifted copies along one axis after another. Unlike running sums, these additions
    do not suffer from cancellation, and XLA fuses them.

    Args:
        x: ``[B, *S, C]``.
        width: Odd window width in voxels.

    Returns:
        ``[B, *S, C]``.

    >>> window_sum(tf.ones([1, 4, 1]), 3)[0, :, 0].numpy().tolist()
    [2.0, 3.0, 3.0, 2.0]
    """
    half = width // 2
    for axis in range(1, x.shape.rank - 1):
        pads = [[half, half] if a == axis else [0, 0] for a in range(x.shape.rank)]
        x = _add_shifted(tf.pad(x, pads), None, axis, width)
    return x


def window_size(x: tf.Tensor, width: int) -> tf.Tensor:
    """Number of voxels in the window around each voxel, of which fewer lie inside near the faces.

    Args:
        x: ``[B, *S, C]``; only its spatial sizes are used.
        width: Odd window width in voxels.

    Returns:
        ``[1, *S, 1]`` in the dtype of `x`.

    >>> window_size(tf.zeros([1, 4, 1]), 3)[0, :, 0].numpy().tolist()
    [2.0, 3.0, 3.0, 2.0]
    """
    sizes = spatial_shape(x)
    count: Any = tf.ones([1] * x.shape.rank, x.dtype)
    for axis, size in enumerate(sizes, start=1):
        place = tf.range(size)
        inside = tf.minimum(place, width // 2) + tf.minimum(size - 1 - place, width // 2) + 1
        line = [-1 if a == axis else 1 for a in range(x.shape.rank)]
        count = count * tf.reshape(tf.cast(inside, x.dtype), line)
    return count


def gaussian_smooth(x: tf.Tensor, sigma: Any, radius: int | None = None) -> tf.Tensor:
    """Convolve with a sampled Gaussian of unit sum; edge voxels are repeated outside.

    Args:
        x: ``[B, *S, C]``, floating.
        sigma: Standard deviation in voxels, a number or a scalar tensor, by which the
            result can be differentiated; 0 leaves `x` as it is.
        radius: Voxels on each side of the kernel; by default three standard deviations,
            which then must be a number.

    Returns:
        ``[B, *S, C]``.

    >>> step = tf.constant([0.0, 0.0, 1.0, 1.0])
    >>> [round(float(x), 3) for x in gaussian_smooth(tf.reshape(step, [1, 4, 1]), 0.5)[0, :, 0]]
    [0.0, 0.107, 0.893, 1.0]
    """
    if radius is None:
        radius = math.ceil(3 * sigma)
    if radius == 0:
        return x
    place = tf.cast(tf.range(-radius, radius + 1), x.dtype)
    deviation = tf.cast(sigma, x.dtype) if tf.is_tensor(sigma) else tf.constant(sigma, x.dtype)
    weights = tf.exp(-0.5 * tf.square(place / tf.maximum(deviation, 1e-3)))
    weights = weights / tf.reduce_sum(weights)
    for axis in range(1, x.shape.rank - 1):
        faces = (0, spatial_shape(x)[axis - 1] - 1)
        ends = [tf.gather(x, tf.fill([radius], face), axis=axis) for face in faces]
        x = _add_shifted(tf.concat([ends[0], x, ends[1]], axis), weights, axis, 2 * radius + 1)
    return x


def _add_shifted(padded: tf.Tensor, weights: tf.Tensor | None, axis: int, width: int) -> tf.Tensor:
    """Sum of shifted copies along an axis, in the layout in which its inner loop is longest."""
    shape = tf.shape(padded) if None in padded.shape else padded.shape.as_list()
    inner = math.prod(shape[axis + 1 :]) if isinstance(shape, list) else tf.reduce_prod(shape[axis + 1 :])
    out = _weighted_sum(tf.reshape(padded, [-1, shape[axis] * inner]), weights, inner, width)
    whole = [*tf.unstack(shape[:axis]), shape[axis] - width + 1, *tf.unstack(shape[axis + 1 :])]
    static = [*padded.shape]
    static[axis] = None if static[axis] is None else static[axis] - width + 1
    return tf.ensure_shape(tf.reshape(out, whole), static)


@xla_jit
def _weighted_sum(rows: tf.Tensor, weights: tf.Tensor | None, stride: Any, width: int) -> tf.Tensor:
    whole = tf.shape(rows)[1] if rows.shape[1] is None else rows.shape[1]
    size = whole - (width - 1) * stride
    total: Any = 0
    for k in range(width):
        part = rows[:, k * stride : k * stride + size]
        total = total + (part if weights is None else weights[k] * part)
    return total
