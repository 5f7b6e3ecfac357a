"""Resizing of a field together with its voxel units."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.ops.grid import as_field, field_dtype, spatial_shape
from bilevelmorph.ops.resizing import resize


@keras.saving.register_keras_serializable("bilevelmorph")
class RescaleTransform(keras.layers.Layer):
    """Resize a dense field by a factor and multiply its values by the same factor, as VoxelMorph does.

    Args:
        zoom_factor: New size over old size.

    Input: ``[B, *S, N]``. Output: ``[B, *(S * zoom_factor), N]``, float32 also
    under mixed precision.

    >>> RescaleTransform(2)(tf.ones([1, 4, 4, 2])).shape.as_list()
    [1, 8, 8, 2]
    """

    def __init__(self, zoom_factor: float, **kwargs: Any) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.zoom_factor = positive("zoom_factor", zoom_factor)

    def call(self, field: tf.Tensor) -> tf.Tensor:
        field = as_field(field)
        sizes = [
            int(n * self.zoom_factor)
            if isinstance(n, int)
            else tf.cast(tf.cast(n, tf.float32) * self.zoom_factor, tf.int32)
            for n in spatial_shape(field)
        ]
        return resize(field * self.zoom_factor, sizes, align="corners")

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        sizes = [None if n is None else int(n * self.zoom_factor) for n in input_shape[1:-1]]
        return (input_shape[0], *sizes, input_shape[-1])

    def compute_output_spec(self, field: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(field.shape), field_dtype(field.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "zoom_factor": self.zoom_factor}
