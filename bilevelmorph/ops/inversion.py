"""Inverse of a displacement."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.ops.derivatives import gradient
from bilevelmorph.ops.warping import warp
from bilevelmorph.ops.xla import xla_jit

# Largest step of an iteration, in voxels: derivatives say nothing about what is further away.
REACH = 2.0


def invert(displacement: tf.Tensor, iterations: int = 12, tolerance: float = 1e-3) -> tf.Tensor:
    """The inverse displacement, by Newton's method at every voxel.

    A step that makes the residual larger is replaced by one of a damped fixed-point iteration.
    (The plain fixed-point iteration diverges where space grows to more than twice its width.)

    Args:
        displacement: ``[B, *S, N]`` voxels, without folding.
        iterations: Largest number of iterations.
        tolerance: Largest residual at which the iteration ends, in voxels.

    Returns:
        ``[B, *S, N]`` voxels: ``v(x) = -u(x + v(x))``.

    Reference: Chen et al., Medical Physics 2008 (fixed point).

    >>> invert(tf.fill([1, 8, 8, 2], 1.5))[0, 4, 4].numpy().tolist()
    [-1.5, -1.5]
    """
    slopes = tf.concat(gradient(displacement), -1)

    def go_on(k: tf.Tensor, _: tf.Tensor, rest: tf.Tensor) -> tf.Tensor:
        return (k < iterations) & (tf.reduce_max(tf.abs(rest)) > tolerance)

    def improve(k: tf.Tensor, inverse: tf.Tensor, rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
        there = inverse - _newton_step(warp(slopes, inverse), rest)
        better = _shorter(there + warp(displacement, there), rest)
        inverse = tf.where(better, there, inverse - rest / 2)
        return k + 1, inverse, inverse + warp(displacement, inverse)

    start = -displacement
    begin = (tf.constant(0), start, start + warp(displacement, start))
    return tf.while_loop(go_on, improve, begin, parallel_iterations=1)[1]


@xla_jit
def _newton_step(slopes: tf.Tensor, rest: tf.Tensor) -> tf.Tensor:
    """The residual divided by the Jacobian, ``[B, *S, N]``, not longer than `REACH`."""
    n = rest.shape[-1]
    columns = [tf.unstack(part, axis=-1) for part in tf.split(slopes, n, -1)]
    columns = [[x + 1.0 if i == k else x for i, x in enumerate(c)] for k, c in enumerate(columns)]
    side = tf.unstack(rest, axis=-1)
    whole = _determinant(columns)
    # Cramer's rule; a singular Jacobian gives a long step, which is cut.
    whole = tf.where(tf.abs(whole) < 1e-6, 1e-6, whole)
    parts = [_determinant([side if i == k else c for i, c in enumerate(columns)]) for k in range(n)]
    step = tf.stack(parts, -1) / whole[..., None]
    length = tf.norm(step, axis=-1, keepdims=True)
    return step * tf.minimum(1.0, REACH / tf.maximum(length, 1e-12))


@xla_jit
def _shorter(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Where the vectors of `a` are shorter than those of `b`, ``[B, *S, 1]`` booleans."""
    return tf.reduce_sum(a * a, -1, keepdims=True) < tf.reduce_sum(b * b, -1, keepdims=True)


def _determinant(columns: list[list[tf.Tensor]]) -> tf.Tensor:
    """Determinant of a matrix of one to three columns of tensors."""
    if len(columns) == 1:
        return columns[0][0]
    first, *others = columns
    total = 0.0
    for row, value in enumerate(first):
        minor = [[x for i, x in enumerate(c) if i != row] for c in others]
        total += (-1) ** row * value * _determinant(minor)
    return total
