"""Finite differences of fields."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.ops.xla import xla_jit


def difference(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Forward difference along a spatial axis of ``[B, *S, C]`` (1, 2, ...), which becomes one voxel shorter.

    >>> difference(tf.reshape(tf.constant([0.0, 1.0, 3.0]), [1, 3, 1]), 1)[0, :, 0].numpy().tolist()
    [1.0, 2.0]
    """
    return _cut(x, axis, 1, None) - _cut(x, axis, None, -1)


def _cut(x: tf.Tensor, axis: int, start: int | None, stop: int | None) -> tf.Tensor:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def gradient(x: tf.Tensor) -> list[tf.Tensor]:
    """Central differences along every spatial axis, one-sided at the faces; sizes are kept.

    >>> gradient(tf.reshape(tf.constant([0.0, 1.0, 4.0]), [1, 3, 1]))[0][0, :, 0].numpy().tolist()
    [1.0, 2.0, 3.0]
    """
    out = []
    for axis in range(1, x.shape.rank - 1):
        step = difference(x, axis)
        middle = (_cut(step, axis, None, -1) + _cut(step, axis, 1, None)) / 2
        out.append(tf.concat([_cut(step, axis, 0, 1), middle, _cut(step, axis, -1, None)], axis))
    return out


@xla_jit
def jacobian_determinant(displacement: tf.Tensor) -> tf.Tensor:
    """Determinant of the Jacobian of ``x -> x + u(x)``; negative where space folds.

    Args:
        displacement: ``[B, *S, N]`` voxels, N = 1, 2 or 3, sizes of at least 2.

    Returns:
        ``[B, *S]``; 1 means no change of volume.

    >>> float(jacobian_determinant(tf.zeros([1, 4, 4, 2]))[0, 0, 0])
    1.0
    """
    columns = [tf.unstack(column, axis=-1) for column in gradient(displacement)]
    n = len(columns)
    j = [[columns[c][r] + 1.0 if r == c else columns[c][r] for c in range(n)] for r in range(n)]
    if n == 1:
        return j[0][0]
    if n == 2:
        return j[0][0] * j[1][1] - j[0][1] * j[1][0]
    return (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )
