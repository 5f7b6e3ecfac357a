"""Descriptors of local structure that do not depend on contrast."""

from __future__ import annotations

import itertools

import tensorflow as tf

from bilevelmorph.ops.windows import window_sum
from bilevelmorph.ops.xla import xla_jit


@xla_jit
def mind(image: tf.Tensor, width: int = 3, distance: int = 1) -> tf.Tensor:
    """Self-similarity context: distances between patches at neighbours of each voxel.

    Args:
        image: ``[B, *S, 1]``, 2-D or 3-D.
        width: Odd patch width in voxels.
        distance: Distance from the voxel to each neighbour, in voxels.

    Returns:
        ``[B, *S, K]`` in (0, 1], with K = 4 in 2-D and 12 in 3-D: one channel for each pair of
        face neighbours that are not opposite each other.

    Reference: Heinrich et al., MICCAI 2013.

    >>> mind(tf.random.stateless_normal([1, 6, 6, 6, 1], [0, 1])).shape.as_list()
    [1, 6, 6, 6, 12]
    """
    n = image.shape.rank - 2
    offsets = [(axis, sign * distance) for axis in range(n) for sign in (-1, 1)]
    pairs = [(a, b) for a, b in itertools.combinations(offsets, 2) if a[0] != b[0]]
    shifted = {o: _shift(image, *o) for o in offsets}
    apart = tf.concat([tf.square(shifted[a] - shifted[b]) for a, b in pairs], -1)
    apart = window_sum(apart, width) / width**n
    apart = apart - tf.reduce_min(apart, -1, keepdims=True)
    variance = tf.reduce_mean(apart, -1, keepdims=True)
    typical = tf.reduce_mean(variance, list(range(1, n + 2)), keepdims=True)
    variance = tf.clip_by_value(variance, 1e-3 * typical, 1e3 * typical)
    return tf.exp(-apart / (variance + 1e-8))


def _shift(x: tf.Tensor, axis: int, by: int) -> tf.Tensor:
    """``out(i) = x(i + by)`` along a spatial axis; edge voxels are repeated."""
    size = tf.shape(x)[axis + 1]
    index = tf.clip_by_value(tf.range(size) + by, 0, size - 1)
    return tf.gather(x, index, axis=axis + 1)
