"""Squared local correlation of images and its derivative, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from bilevelmorph.ops.windows import window_size, window_sum
from bilevelmorph.ops.xla import xla_jit


class _Fixed(NamedTuple):
    """The fixed image less its mean, and the mean, variance and number of voxels of its windows."""

    image: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    count: tf.Tensor


def correlation_with(
    fixed: tf.Tensor,
    width: Any = 9,
    mask: tf.Tensor | None = None,
    eps: float = 1e-4,
    radius: int | None = None,
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Prepare the mean squared local correlation of one image with others.

    The derivative is that of the correlation itself, with six window sums instead of a
    backward pass. As images are centred for accuracy only, their mean counts as constant.

    Args:
        fixed: ``[B, *S, C]``, values of order one.
        width, radius: Window width in voxels, see `window_sum`.
        mask: None, or ``[B, *S, 1]``, non-negative: weight of the window at each voxel.
        eps: Variance below which a window counts as flat.

    Returns:
        A function of a moved image ``[B, *S, C]`` that returns the mean correlation of
        each sample, ``[B]``, and the derivative of this mean with respect to the moved
        image, ``[B, *S, C]``.

    Reference: Avants et al., MedIA 2008.

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> value, derivative = correlation_with(x, 3)(2 * x)
    >>> round(float(value[0]), 3), derivative.shape.as_list()
    (1.0, [1, 9, 9, 1])
    """
    image = fixed - _mean(fixed)
    count = window_size(fixed, width, radius)
    mean = window_sum(image, width, radius) / count
    variance = tf.maximum(window_sum(tf.square(image), width, radius) / count - tf.square(mean), 0)
    of_fixed = _Fixed(image, mean, variance, count)
    total = _total_weight(fixed, mask)

    def correlation(moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        offset = _mean(moved)
        sums = window_sum(_products(of_fixed.image, moved, offset), width, radius)
        value, parts = _correlation(sums, of_fixed.mean, of_fixed.variance, count, mask, eps)
        derivative = _derivative(window_sum(parts, width, radius), of_fixed.image, moved, offset, total)
        return value / total, derivative

    return correlation


def correlation_and_derivatives(
    fixed: tf.Tensor,
    moved: tf.Tensor,
    width: Any = 9,
    mask: tf.Tensor | None = None,
    eps: float = 1e-4,
    radius: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The mean squared local correlation, and its derivatives with respect to both images.

    Args:
        fixed, moved, width, mask, eps, radius: See `correlation_with`.

    Returns:
        The mean correlation of each sample, ``[B]``, and the derivatives of this mean with
        respect to the fixed and to the moved image, ``[B, *S, C]``.

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> value, by_fixed, by_moved = correlation_and_derivatives(x, -x, 3)
    >>> round(float(value[0]), 3), by_fixed.shape.as_list()
    (1.0, [1, 9, 9, 1])
    """
    f, m = fixed - _mean(fixed), moved - _mean(moved)
    count, total = window_size(fixed, width), _total_weight(fixed, mask)
    sums = window_sum(tf.concat([f, m, f * f, m * m, f * m], -1), width, radius)
    value, parts = _symmetric(sums, count, mask, eps)
    across, by_moved, moved_rest, by_fixed, fixed_rest = tf.split(window_sum(parts, width, radius), 5, -1)
    scale = tf.reshape(2 / total, [-1] + [1] * (fixed.shape.rank - 1))
    of_fixed = scale * (across * m - by_fixed * f - fixed_rest)
    return value / total, of_fixed, scale * (across * f - by_moved * m - moved_rest)


@xla_jit
def _symmetric(sums: tf.Tensor, count: tf.Tensor, mask: Any, eps: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Like `_correlation`, with the coefficients for both images."""
    f, m, ff, mm, fm = tf.split(sums / count, 5, -1)
    of_fixed, of_moved = tf.maximum(ff - f * f, 0), tf.maximum(mm - m * m, 0)
    cross = fm - f * m
    across = cross / (of_fixed * of_moved + eps * eps)
    square = tf.square(across)
    by_moved, by_fixed = square * of_fixed, square * of_moved
    parts = [across, by_moved, across * f - by_moved * m, by_fixed, across * m - by_fixed * f]
    return _weighted(cross * across, parts, count, mask)


def _weighted(
    value: tf.Tensor, parts: list[tf.Tensor], count: tf.Tensor, mask: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum of the values of each sample, and the coefficients, both under the mask."""
    weight = 1 / count if mask is None else mask / count
    value = value if mask is None else value * mask
    return tf.reduce_sum(value, list(range(1, value.shape.rank))), tf.concat([p * weight for p in parts], -1)


def _mean(image: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(image, list(range(1, image.shape.rank - 1)), keepdims=True)


def _total_weight(image: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Sum of the weights of all entries, ``[B]``."""
    if mask is None:
        return tf.fill(tf.shape(image)[:1], tf.cast(tf.size(image[0]), image.dtype))
    channels = tf.cast(tf.shape(image)[-1], image.dtype)
    weight = tf.reduce_sum(mask, list(range(1, mask.shape.rank))) * channels
    return tf.broadcast_to(tf.maximum(weight, 1e-30), tf.shape(image)[:1])


@xla_jit
def _products(fixed: tf.Tensor, moved: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    moved = moved - offset
    return tf.concat([moved, moved * moved, fixed * moved], -1)


@xla_jit
def _correlation(
    sums: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, count: tf.Tensor, mask: Any, eps: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum of the correlations of each sample, and the coefficients of their derivative in every window."""
    m, mm, fm = tf.split(sums / count, 3, -1)
    cross = fm - mean * m
    by_fixed = cross / (variance * tf.maximum(mm - m * m, 0) + eps * eps)
    by_moved = tf.square(by_fixed) * variance
    return _weighted(cross * by_fixed, [by_fixed, by_moved, by_fixed * mean - by_moved * m], count, mask)


@xla_jit
def _derivative(
    sums: tf.Tensor, fixed: tf.Tensor, moved: tf.Tensor, offset: tf.Tensor, total: tf.Tensor
) -> tf.Tensor:
    by_fixed, by_moved, constant = tf.split(sums, 3, -1)
    scale = tf.reshape(2 / total, [-1] + [1] * (fixed.shape.rank - 1))
    return scale * (by_fixed * fixed - by_moved * (moved - offset) - constant)
