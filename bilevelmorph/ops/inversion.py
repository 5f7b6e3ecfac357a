"""Inverse of a displacement."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.ops.warping import warp


def invert(displacement: tf.Tensor, iterations: int = 20) -> tf.Tensor:
    """The inverse displacement, by fixed-point iteration.

    Args:
        displacement: ``[B, *S, N]`` voxels, without folding.
        iterations: Number of iterations.

    Returns:
        ``[B, *S, N]`` voxels: ``v(x) = -u(x + v(x))``.

    Reference: Chen et al., Medical Physics 2008.

    >>> invert(tf.fill([1, 8, 8, 2], 1.5))[0, 4, 4].numpy().tolist()
    [-1.5, -1.5]
    """
    inverse = -displacement
    for _ in range(iterations):
        inverse = -warp(displacement, inverse)
    return inverse
