"""Multilinear resizing by one small matrix per axis, whose gradient needs no scatter."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bilevelmorph.errors import one_of
from bilevelmorph.ops.grid import field_dtype, spatial_shape
from bilevelmorph.ops.windows import gaussian_smooth

ALIGN = ("centres", "corners", "first")


def resize(x: tf.Tensor, shape: list[Any], method: str = "linear", align: str = "centres") -> tf.Tensor:
    """Resample ``[B, *S, C]`` on a grid of another size over the same extent.

    Args:
        x: ``[B, *S, C]``, floating.
        shape: New spatial sizes.
        method: ``"linear"`` or ``"nearest"``.
        align: ``"centres"``: voxels are cells and the outer faces coincide;
            ``"corners"``: the first and last voxel centres coincide (as in neurite);
            ``"first"``: only the first voxel centres coincide (as in VoxelMorph of 2018).

    Returns:
        ``[B, *shape, C]``.

    >>> resize(tf.reshape(tf.range(3.0), [1, 3, 1]), [5], align="corners")[0, :, 0].numpy().tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    one_of("method", method, ("linear", "nearest"))
    one_of("align", align, ALIGN)
    for axis, (old, new) in enumerate(zip(spatial_shape(x), shape, strict=True), start=1):
        if isinstance(old, int) and isinstance(new, int) and old == new:
            continue
        if method == "nearest":
            where = tf.cast(tf.round(_positions(old, new, align, tf.float32)), tf.int32)
            x = tf.gather(x, tf.clip_by_value(where, 0, old - 1), axis=axis)
        else:
            x = _apply(x, _weights(old, new, align, x.dtype), axis)
    return x


def resize_field(field: tf.Tensor, shape: list[Any], align: str = "centres") -> tf.Tensor:
    """Resize a displacement or velocity and rescale its voxel units to the new grid.

    Args:
        field: ``[B, *S, N]`` voxels of its own grid.
        shape: New spatial sizes.
        align: As in `resize`. The scale is always ``new / old``, which is exact except
            for ``"corners"``, where VoxelMorph does the same.

    Returns:
        ``[B, *shape, N]`` voxels of the new grid.

    >>> resize_field(tf.ones([1, 4, 4, 2]), [8, 8])[0, 0, 0].numpy().tolist()
    [2.0, 2.0]
    """
    scale = tf.stack(
        [
            tf.cast(new, field.dtype) / tf.cast(old, field.dtype)
            for old, new in zip(spatial_shape(field), shape, strict=True)
        ]
    )
    return resize(field * scale, shape, align=align)


def upsample_field(field: tf.Tensor, factor: int) -> tf.Tensor:
    """`resize_field` by a power of two, one doubling after another.

    A pyramid that omits a scale therefore passes fields on as if a stage at that scale
    had predicted zero.

    Args:
        field: ``[B, *S, N]`` voxels of its own grid.
        factor: 1, 2, 4, ...

    Returns:
        ``[B, *(factor * S), N]`` voxels of the new grid.

    >>> upsample_field(tf.ones([1, 4, 4, 2]), 4)[0, 0, 0].numpy().tolist()
    [4.0, 4.0]
    """
    while factor > 1:
        field = resize_field(field, [2 * n for n in spatial_shape(field)])
        factor //= 2
    return field


def shrink(image: tf.Tensor, factor: int, least: int = 8) -> tf.Tensor:
    """Smooth an image and resize it to a grid that is coarser by a factor.

    Args:
        image: ``[B, *S, C]``.
        factor: Ratio of the voxel sizes; 1 returns the image itself.
        least: Size below which no axis is shrunk.

    Returns:
        ``[B, *S / factor, C]``, sizes rounded up.

    >>> shrink(tf.ones([1, 33, 20, 1]), 2).shape.as_list()
    [1, 17, 10, 1]
    """
    if factor == 1:
        return image
    sizes = spatial_shape(image)
    smaller = [-(-n // factor) for n in sizes]
    if all(isinstance(n, int) for n in sizes):
        shape = [max(k, min(n, least)) for k, n in zip(smaller, sizes, strict=True)]
    else:
        shape = [tf.maximum(k, tf.minimum(n, least)) for k, n in zip(smaller, sizes, strict=True)]
    return resize(gaussian_smooth(image, 0.5 * factor), shape)


def average_pool(x: tf.Tensor) -> tf.Tensor:
    """Average pooling by two along every axis; sizes must be even.

    >>> average_pool(tf.reshape(tf.range(4.0), [1, 4, 1]))[0, :, 0].numpy().tolist()
    [0.5, 2.5]
    """
    for axis in range(1, x.shape.rank - 1):
        size = spatial_shape(x)[axis - 1]
        dynamic = tf.shape(x)
        parts = [*tf.unstack(dynamic[:axis]), size // 2, 2, *tf.unstack(dynamic[axis + 1 :])]
        static = [*x.shape[:axis], size // 2 if isinstance(size, int) else None, *x.shape[axis + 1 :]]
        x = tf.ensure_shape(tf.reduce_mean(tf.reshape(x, tf.stack(parts)), axis + 1), static)
    return x


def double(x: tf.Tensor) -> tf.Tensor:
    """Repeat every voxel twice along every axis, like Keras's upsampling layers.

    >>> double(tf.reshape(tf.range(2.0), [1, 2, 1]))[0, :, 0].numpy().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    for axis in range(1, x.shape.rank - 1):
        x = tf.repeat(x, 2, axis=axis)
    return x


def _positions(old: Any, new: Any, align: str, dtype: Any) -> tf.Tensor:
    index = tf.cast(tf.range(new), dtype)
    old, new = tf.cast(old, dtype), tf.cast(new, dtype)
    if align == "corners":
        return index * (old - 1) / tf.maximum(new - 1, 1)
    if align == "first":
        return index * old / new
    return (index + 0.5) * old / new - 0.5


def _weights(old: Any, new: Any, align: str, dtype: Any) -> tf.Tensor:
    """Linear interpolation weights ``[new, old]``; edge voxels are repeated."""
    exact = field_dtype(dtype)
    where = tf.clip_by_value(_positions(old, new, align, exact), 0, tf.cast(old - 1, exact))
    distance = tf.abs(where[:, None] - tf.cast(tf.range(old), exact)[None])
    return tf.cast(tf.maximum(1 - distance, 0), dtype)


def _apply(x: tf.Tensor, weights: tf.Tensor, axis: int) -> tf.Tensor:
    letters = "abcdefgh"[: x.shape.rank]
    out = letters.replace(letters[axis], "z")
    return tf.einsum(f"{letters},z{letters[axis]}->{out}", x, weights)
