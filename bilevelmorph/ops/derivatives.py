"""Finite differences of fields."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.ops.xla import xla_jit


def difference(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Forward difference along a spatial axis of ``[B, *S, C]`` (1, 2, ...), which becomes one voxel shorter.

    >>> difference(tf.reshape(tf.constant([0.0, 1.0, 3.0]), [1, 3, 1]), 1)[0, :, 0].numpy().tolist()
    [1.0, 2.0]
    """
    before = [slice(None)] * x.shape.rank
    after = list(before)
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return x[tuple(after)] - x[tuple(before)]


def gradient(x: tf.Tensor) -> list[tf.Tensor]:
    """Central differences along every spatial axis, one-sided at the faces; sizes are kept.

    >>> gradient(tf.reshape(tf.constant([0.0, 1.0, 4.0]), [1, 3, 1]))[0][0, :, 0].numpy().tolist()
    [1.0, 2.0, 3.0]
    """
    out = []
    for axis in range(1, x.shape.rank - 1):
        step = difference(x, axis)
        first = [slice(None)] * x.shape.rank
        last, inner_low, inner_high = list(first), list(first), list(first)
        first[axis], last[axis] = slice(0, 1), slice(-1, None)
        inner_low[axis], inner_high[axis] = slice(None, -1), slice(1, None)
        middle = (step[tuple(inner_low)] + step[tuple(inner_high)]) / 2
        out.append(tf.concat([step[tuple(first)], middle, step[tuple(last)]], axis))
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
    columns = gradient(displacement)
    n = len(columns)
    j = [[columns[c][..., r] + (1.0 if r == c else 0.0) for c in range(n)] for r in range(n)]
    if n == 1:
        return j[0][0]
    if n == 2:
        return j[0][0] * j[1][1] - j[0][1] * j[1][0]
    return (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )
