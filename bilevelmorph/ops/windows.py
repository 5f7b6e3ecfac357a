"""Sums over local windows."""

from __future__ import annotations

import tensorflow as tf


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
        padded = tf.pad(x, pads)
        size = tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
        total = None
        for shift in range(width):
            part = [slice(None)] * x.shape.rank
            part[axis] = slice(shift, shift + size)
            piece = padded[tuple(part)]
            total = piece if total is None else total + piece
        x = total
    return x
