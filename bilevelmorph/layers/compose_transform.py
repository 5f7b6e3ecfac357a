"""Composition of displacement fields."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail
from bilevelmorph.ops.grid import as_field, field_dtype
from bilevelmorph.ops.warping import compose


@keras.saving.register_keras_serializable("bilevelmorph")
class ComposeTransform(keras.layers.Layer):
    """Compose several displacements into one, in the order in which they would warp an image.

    Input: list of ``[B, *S, N]`` voxels. Output: ``[B, *S, N]``, float32 also
    under mixed precision.

    >>> ComposeTransform()([tf.ones([1, 5, 5, 2]), tf.ones([1, 5, 5, 2])])[0, 2, 2].numpy().tolist()
    [2.0, 2.0]
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)

    def call(self, inputs: Any) -> tf.Tensor:
        if len(inputs) < 2:
            raise fail("ComposeTransform", f"{len(inputs)} fields", "at least 2")
        *rest, total = (as_field(x) for x in inputs)
        for field in reversed(rest):  # VoxelMorph's order; interpolation makes it matter
            total = compose(field, total)
        return total

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return tuple(input_shape[-1])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[-1].shape, field_dtype(inputs[-1].dtype))
