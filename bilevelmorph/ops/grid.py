"""Voxel coordinates and spatial shapes, static where known."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def spatial_shape(x: Any) -> list[Any]:
    """Sizes of the spatial axes of ``[B, *S, C]``: ints where static, otherwise tensors.

    >>> spatial_shape(tf.zeros([1, 4, 5, 2]))
    [4, 5]
    """
    static = list(x.shape)[1:-1]
    if None not in static:
        return static
    dynamic = tf.shape(x)
    return [dynamic[i + 1] if n is None else n for i, n in enumerate(static)]


def field_dtype(dtype: Any) -> str:
    """The data type of fields computed from tensors of a data type: float32, or float64 for float64.

    Positions need more digits than half precision has, so fields stay in float32
    under mixed precision.

    >>> field_dtype(tf.bfloat16), field_dtype("float64")
    ('float32', 'float64')
    """
    return "float64" if tf.as_dtype(dtype) == tf.float64 else "float32"


def as_field(x: tf.Tensor) -> tf.Tensor:
    """Cast to the precision of fields (see `field_dtype`).

    >>> as_field(tf.zeros([1, 4, 4, 2], tf.float16)).dtype.name
    'float32'
    """
    return tf.cast(x, field_dtype(x.dtype))


def coordinates(shape: list[Any], dtype: Any = tf.float32) -> list[tf.Tensor]:
    """One ``ij`` coordinate tensor per axis, each ready to broadcast.

    Args:
        shape: Sizes of N spatial axes, ints or scalar tensors.
        dtype: Data type of the coordinates.

    Returns:
        N tensors; the i-th holds 0..shape[i]-1 along axis i and has size 1
        along the others.

    >>> [c.shape.as_list() for c in coordinates([4, 5])]
    [[4, 1], [1, 5]]
    """
    n = len(shape)
    axes = []
    for i, size in enumerate(shape):
        line = tf.cast(tf.range(size), dtype)
        axes.append(tf.reshape(line, [-1 if j == i else 1 for j in range(n)]))
    return axes


def pad_to_multiple(x: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pad the end of every spatial axis with zeros up to a multiple.

    >>> pad_to_multiple(tf.zeros([1, 5, 8, 1]), 4).shape.as_list()
    [1, 8, 8, 1]
    """
    if multiple == 1:
        return x
    # Not -n % multiple, whose sign differs in ONNX.
    extra = [[0, (multiple - n % multiple) % multiple] for n in spatial_shape(x)]
    if all(isinstance(e[1], int) and e[1] == 0 for e in extra):
        return x
    return tf.pad(x, [[0, 0], *extra, [0, 0]])


def crop(x: tf.Tensor, shape: list[Any]) -> tf.Tensor:
    """Keep the first ``shape`` voxels along the spatial axes (undoes `pad_to_multiple`).

    >>> crop(tf.zeros([1, 8, 8, 1]), [5, 8]).shape.as_list()
    [1, 5, 8, 1]
    """
    keep = (slice(None), *(slice(0, n) for n in shape), slice(None))
    return x[keep]
