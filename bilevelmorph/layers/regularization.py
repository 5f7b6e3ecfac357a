"""The regularisation block of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail
from bilevelmorph.layers.convolution import convolution, small_normal


@keras.saving.register_keras_serializable("bilevelmorph")
class Regularization(keras.layers.Layer):
    """A learned proximal step on a velocity: ``v = u + R(u)``.

    Args:
        ndims: 2 or 3.
        widths: Filters of the hidden convolutions.
        dilations: Dilation of each hidden convolution.

    Input: ``[B, *S, N]`` voxels. Output: the same shape; initially
    close to the input.

    Reference: Liu et al., TPAMI 2021.

    >>> Regularization(2, [8], [1])(tf.ones([1, 8, 8, 2])).shape.as_list()
    [1, 8, 8, 2]
    """

    def __init__(
        self,
        ndims: int,
        widths: Sequence[int] = (48, 48, 32),
        dilations: Sequence[int] = (1, 2, 4),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(widths) != len(dilations):
            raise fail("dilations", list(dilations), f"{len(widths)} of them, one per width")
        self.ndims, self.widths, self.dilations = ndims, list(widths), list(dilations)
        pairs = enumerate(zip(self.widths, self.dilations, strict=True))
        self.hidden = [
            convolution(ndims, w, dilation=d, name=f"conv{i}", dtype=self.dtype_policy) for i, (w, d) in pairs
        ]
        self.head = convolution(
            ndims, ndims, active=False, initializer=small_normal(), name="head", dtype=self.dtype_policy
        )

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for block in [*self.hidden, self.head]:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.built = True

    def call(self, velocity: tf.Tensor) -> tf.Tensor:
        x = velocity
        for block in self.hidden:
            x = block(x)
        return velocity + self.head(x)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"ndims": self.ndims, "widths": self.widths, "dilations": self.dilations}
        return {**super().get_config(), **own}
