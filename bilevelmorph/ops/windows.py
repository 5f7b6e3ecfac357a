"""Sums and means over local windows, one axis after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bilevelmorph.errors import fail
from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.xla import xla_jit

# From a parameter and a radius to the weights of a kernel and their derivatives by the parameter.
Kernel = Callable[[tf.Tensor, int], tuple[tf.Tensor, tf.Tensor]]


def window_sum(x: tf.Tensor, width: Any, radius: int | None = None) -> tf.Tensor:
    """Sum over a cubic window around each voxel, with zeros outside.

    Adds shifted copies along one axis after another. Unlike running sums, these additions
    do not suffer from cancellation, and XLA fuses them.

    Args:
        x: ``[B, *S, C]``.
        width: Window width in voxels, of at least 1. Between odd numbers, the outermost voxels count in
            part. A scalar tensor is possible; the result can be differentiated by it.
        radius: Largest number of voxels on each side, needed if `width` is a tensor.

    Returns:
        ``[B, *S, C]``.

    >>> window_sum(tf.ones([1, 4, 1]), 3)[0, :, 0].numpy().tolist()
    [2.0, 3.0, 3.0, 2.0]
    >>> window_sum(tf.ones([1, 4, 1]), 2.0)[0, :, 0].numpy().tolist()  # weights 0.5, 1, 0.5
    [1.5, 2.0, 2.0, 1.5]
    """
    half = _reach(width, radius)
    if tf.is_tensor(width):
        return _filtered(x, tf.cast(width, x.dtype), half, _window_weights, "zero")
    weights = None if width == 2 * half + 1 else _window_weights(tf.constant(width, x.dtype), half)[0]
    for axis in range(1, x.shape.rank - 1):
        x = _convolve(x, weights, half, axis, "zero")
    return x


def window_size(x: tf.Tensor, width: Any, radius: int | None = None) -> tf.Tensor:
    """Number of voxels in the window around each voxel, of which fewer lie inside near the faces.

    Args:
        x: ``[B, *S, C]``; only its spatial sizes are used.
        width, radius: See `window_sum`.

    Returns:
        ``[1, *S, 1]`` in the dtype of `x`.

    >>> window_size(tf.zeros([1, 4, 1]), 3)[0, :, 0].numpy().tolist()
    [2.0, 3.0, 3.0, 2.0]
    """
    sizes = spatial_shape(x)
    count: Any = tf.ones([1] * x.shape.rank, x.dtype)
    for axis, size in enumerate(sizes, start=1):
        inside = window_sum(tf.ones([1, size, 1], x.dtype), width, radius)
        count = count * tf.reshape(inside, [-1 if a == axis else 1 for a in range(x.shape.rank)])
    return count


def _reach(width: Any, radius: int | None) -> int:
    """Voxels on each side of a window."""
    return math.ceil((width - 1) / 2) if radius is None else radius


def _window_weights(width: tf.Tensor, half: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Weights of the voxels along one axis, and their derivatives by the width.

    The weights are limited to [0, 1]. Where a limit is just reached, the derivative is the
    mean of both sides.
    """
    share = (width + 1) / 2 - tf.abs(tf.cast(tf.range(-half, half + 1), width.dtype))
    derivatives = (tf.sign(share) - tf.sign(share - 1)) / 4
    return (tf.abs(share) - tf.abs(share - 1) + 1) / 2, derivatives


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
    if tf.is_tensor(sigma):
        if radius is None:
            raise fail("radius", "none for a tensor sigma", "a whole number of voxels")
        return _filtered(x, tf.cast(sigma, x.dtype), radius, _gaussian_weights, "edge")
    radius = math.ceil(3 * sigma) if radius is None else radius
    if radius == 0:
        return x
    weights, _ = _gaussian_weights(tf.constant(sigma, x.dtype), radius)
    for axis in range(1, x.shape.rank - 1):
        x = _convolve(x, weights, radius, axis, "edge")
    return x


def _gaussian_weights(sigma: tf.Tensor, radius: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Weights of the voxels along one axis, and their derivatives by sigma."""
    sigma = tf.maximum(sigma, 1e-3)
    square = tf.square(tf.cast(tf.range(-radius, radius + 1), sigma.dtype) / sigma)
    weights = tf.exp(-0.5 * square)
    weights = weights / tf.reduce_sum(weights)
    return weights, weights * (square - tf.reduce_sum(weights * square)) / sigma


def _filtered(x: tf.Tensor, parameter: tf.Tensor, radius: int, kernel: Kernel, border: str) -> tf.Tensor:
    """Convolve along every axis with a kernel of one parameter.

    The gradient is written out: filters with the kernel and with its derivative, many
    times faster than one sum for every voxel of the kernel.
    """
    axes = range(1, x.shape.rank - 1)

    @tf.custom_gradient
    def run(x: tf.Tensor, parameter: tf.Tensor) -> Any:
        weights, _ = kernel(parameter, radius)
        out = x
        for axis in axes:
            out = _convolve(out, weights, radius, axis, border)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            weights, derivatives = kernel(parameter, radius)
            back, slope, part = upstream, tf.zeros_like(x), x
            for axis in axes:
                slope = _convolve(slope, weights, radius, axis, border)
                slope = slope + _convolve(part, derivatives, radius, axis, border)
                part = _convolve(part, weights, radius, axis, border)
                back = _convolve_transposed(back, weights, radius, axis, border)
            return back, tf.reduce_sum(upstream * slope)

        return out, gradient

    return run(x, parameter)


def _convolve(x: tf.Tensor, weights: tf.Tensor | None, radius: int, axis: int, border: str) -> tf.Tensor:
    """Convolve along an axis with a symmetric kernel; voxels outside are zero, or those of the edges."""
    if border == "zero":
        padded = _pad(x, radius, axis)
    else:
        faces = (0, spatial_shape(x)[axis - 1] - 1)
        ends = [tf.gather(x, tf.fill([radius], face), axis=axis) for face in faces]
        padded = tf.concat([ends[0], x, ends[1]], axis)
    return _add_shifted(padded, weights, axis, 2 * radius + 1)


def _convolve_transposed(x: tf.Tensor, weights: tf.Tensor, radius: int, axis: int, border: str) -> tf.Tensor:
    """The transpose of `_convolve` with respect to its input."""
    if border == "zero":
        return _convolve(x, weights, radius, axis, border)
    # What reaches beyond the faces belongs to the voxels of the edges, which were repeated there.
    wide = _add_shifted(_pad(x, 2 * radius, axis), weights, axis, 2 * radius + 1)
    size = spatial_shape(x)[axis - 1]
    head, middle, tail = tf.split(wide, [radius + 1, size - 2, radius + 1], axis)
    ends = [tf.reduce_sum(end, axis, keepdims=True) for end in (head, tail)]
    return tf.concat([ends[0], middle, ends[1]], axis)


def _pad(x: tf.Tensor, width: int, axis: int) -> tf.Tensor:
    return tf.pad(x, [[width, width] if a == axis else [0, 0] for a in range(x.shape.rank)])


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
    # Indexing would add six operations to the graph for every copy, and tracing takes most of a first call.
    starts = [[0, k * stride] for k in range(width)]
    count = tf.shape(rows)[0] if rows.shape[0] is None else rows.shape[0]
    begins, ends = tf.unstack(starts), tf.unstack([[count, at + size] for _, at in starts])
    factors = None if weights is None else tf.unstack(weights, width)
    strides, total = tf.constant([1, 1]), None
    for k in range(width):
        part = tf.raw_ops.StridedSlice(input=rows, begin=begins[k], end=ends[k], strides=strides)
        part = part if factors is None else factors[k] * part
        total = part if total is None else total + part
    return total
