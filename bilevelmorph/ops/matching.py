"""Voxel-wise matching of the features of two images."""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from bilevelmorph.devices import xla_mode
from bilevelmorph.ops.derivatives import gradient
from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.xla import xla_jit


@xla_jit
def cost_volume(fixed: tf.Tensor, moved: tf.Tensor, radius: int = 0) -> tf.Tensor:
    """Mean absolute difference of features at every shift within a cubic neighbourhood.

    Args:
        fixed: ``[B, *S, C]`` features.
        moved: ``[B, *S, C]`` warped features.
        radius: Largest shift along each axis in voxels; 0 compares in place.

    Returns:
        ``[B, *S, (2 * radius + 1)**N]``; `moved` is zero outside its grid.

    >>> cost_volume(tf.ones([1, 4, 4, 2]), tf.zeros([1, 4, 4, 2]), 1).shape.as_list()
    [1, 4, 4, 9]
    """
    if radius == 0:
        return tf.reduce_mean(tf.abs(fixed - moved), -1, keepdims=True)

    @tf.custom_gradient
    def costs(fixed: tf.Tensor, moved: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _cost_slopes(fixed, moved, upstream, radius)

        return _costs(fixed, moved, radius), gradient

    return costs(fixed, moved)


def _costs(fixed: tf.Tensor, moved: tf.Tensor, radius: int) -> tf.Tensor:
    """`cost_volume` without gradient: a loop over all shifts but those along the last axis."""
    sizes, width = spatial_shape(fixed), 2 * radius + 1
    padded = tf.pad(moved, _around(fixed, radius))
    outer = width ** (len(sizes) - 1)
    whole = [*_leading(fixed)[:-1], sizes[-1] + 2 * radius, fixed.shape[-1] or tf.shape(fixed)[-1]]

    def at(k: Any) -> tf.Tensor:
        digits = [k // width**d % width for d in reversed(range(len(sizes) - 1))]
        rows = tf.slice(padded, [0, *digits, 0, 0], whole)
        places = [(..., slice(shift, shift + sizes[-1]), slice(None)) for shift in range(width)]
        return tf.stack([tf.reduce_mean(tf.abs(fixed - rows[place]), -1) for place in places], -1)

    if xla_mode() != "islands":
        return tf.concat([at(k) for k in range(outer)], -1)
    # On a CPU, XLA takes many times longer to compile the unrolled sums, and they are no faster.
    each = tf.map_fn(at, tf.range(outer), fn_output_signature=fixed.dtype)
    rank = fixed.shape.rank
    return tf.reshape(tf.transpose(each, [*range(1, rank), 0, rank]), [*_leading(fixed), outer * width])


def _cost_slopes(
    fixed: tf.Tensor, moved: tf.Tensor, upstream: tf.Tensor, radius: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradients through `cost_volume`: reads at opposite shifts in place of overlapping sums."""
    sizes, around = spatial_shape(fixed), _around(fixed, radius)
    shifts = list(itertools.product(range(2 * radius + 1), repeat=len(sizes)))

    def windows(padded: tf.Tensor) -> list[tf.Tensor]:
        """One window for each of `shifts`."""
        places = [tuple(slice(s, s + n) for s, n in zip(k, sizes, strict=True)) for k in shifts]
        return [padded[(slice(None), *place)] for place in places]

    upstream = upstream / tf.cast(tf.shape(fixed)[-1], upstream.dtype)
    each = [upstream[..., k, None] for k in range(len(shifts))]
    to_fixed = [tf.sign(fixed - w) * g for w, g in zip(windows(tf.pad(moved, around)), each, strict=True)]
    # Shifts are listed symmetrically: the last is the negative of the first.
    back = [w[..., -1 - k, None] for k, w in enumerate(windows(tf.pad(upstream, around)))]
    to_moved = [tf.sign(moved - w) * g for w, g in zip(windows(tf.pad(fixed, around)), back, strict=True)]
    return tf.add_n(to_fixed), tf.add_n(to_moved)


def _around(x: tf.Tensor, radius: int) -> list[list[int]]:
    """Padding by a radius along the spatial axes."""
    return [[0, 0], *[[radius, radius]] * (x.shape.rank - 2), [0, 0]]


def _leading(x: tf.Tensor) -> list[Any]:
    """All sizes but that of the channels."""
    return [x.shape[0] or tf.shape(x)[0], *spatial_shape(x)]


@xla_jit
def soft_argmin(cost: tf.Tensor, radius: int, ndims: int, sharpness: tf.Tensor) -> tf.Tensor:
    """The mean shift under a softmax of the negated costs.

    Args:
        cost: ``[B, *S, (2 * radius + 1)**N]``, from `cost_volume`.
        radius: As in `cost_volume`.
        ndims: N.
        sharpness: Scalar; inverse temperature of the softmax of costs divided by
            their mean.

    Returns:
        ``[B, *S, N]`` voxels, within the radius.

    >>> cost = tf.constant([[[1.0, 1.0, 0.0]]])
    >>> soft_argmin(cost, 1, 1, tf.constant(50.0)).numpy().round(3).tolist()
    [[[1.0]]]
    """
    shifts = list(itertools.product(range(-radius, radius + 1), repeat=ndims))
    typical = tf.reduce_mean(cost, list(range(1, cost.shape.rank)), keepdims=True)
    # Sums over channels rather than a product with the table of shifts, because XLA fuses them;
    # unstacked, because the gradient of each slice would be an array as large as the whole.
    weights = tf.unstack(tf.nn.softmax(-sharpness * cost / (typical + 1e-6), -1), axis=-1)
    parts = [
        tf.add_n([s[axis] * w for s, w in zip(shifts, weights, strict=True) if s[axis]])
        for axis in range(ndims)
    ]
    return tf.stack(parts, -1)


@xla_jit
def demons_force(fixed: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
    """The displacement of a gradient step on the squared distance between features.

    The gradient with respect to a displacement composed after the current one is divided
    by the sum of its Gauss-Newton curvature and the squared distance, which keeps the
    step within half a voxel where the features are flat.

    Args:
        fixed: ``[B, *S, C]`` features.
        moved: ``[B, *S, C]`` warped features.

    Returns:
        ``[B, *S, N]`` voxels.

    Reference: Thirion, Medical Image Analysis 1998, here for several channels.

    >>> x = tf.reshape(tf.range(6.0), [1, 6, 1])
    >>> round(float(demons_force(x + 0.1, x)[0, 2, 0]), 3)
    0.099
    """
    apart = fixed - moved
    slopes = gradient(moved)
    steep = tf.add_n([tf.reduce_mean(tf.square(g), -1) for g in slopes])
    below = steep + tf.reduce_mean(tf.square(apart), -1)
    # Smaller than any relevant contrast, but not zero in float16.
    below = below + tf.cast(1e-6, below.dtype)
    return tf.stack([tf.reduce_mean(apart * g, -1) / below for g in slopes], -1)
