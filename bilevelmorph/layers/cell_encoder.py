"""Features from searched cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.layers.cell import Cell
from bilevelmorph.layers.convolution import convolution


@keras.saving.register_keras_serializable("bilevelmorph")
class CellEncoder(keras.layers.Layer):
    """A strided convolution and an F cell at each scale from 2 on; both images share the encoder.

    Args:
        ndims: 2 or 3.
        filters: Channels at scales 2, 4, ...
        operations: For each scale and each layer of its cell, the operations to choose from.
        searched: Whether the lengths of the cells are searched.

    Input: ``[B, *S, C]``, sizes divisible by ``2**len(filters)``. Output: list of
    ``[B, *S / 2**(k + 1), filters[k]]``.

    Reference: Fan et al., AutoReg, TIP 2023.

    >>> encoder = CellEncoder(2, [4, 6], [[["conv3"]], [["sep3"]]])
    >>> [f.shape.as_list() for f in encoder(tf.ones([1, 8, 8, 1]))]
    [[1, 4, 4, 4], [1, 2, 2, 6]]
    """

    def __init__(
        self,
        ndims: int,
        filters: Sequence[int],
        operations: Sequence[Sequence[Sequence[str]]],
        searched: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.filters, self.searched = ndims, list(filters), searched
        policy = self.dtype_policy
        self.downs, self.cells = [], []
        for k, (count, choices) in enumerate(zip(self.filters, operations, strict=True)):
            scale = 2 ** (k + 1)
            self.downs.append(convolution(ndims, count, 4, stride=2, name=f"down_{scale}", dtype=policy))
            self.cells.append(
                Cell(ndims, count, choices, deep=not searched, name=f"cell_{scale}", dtype=policy)
            )

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for down, cell in zip(self.downs, self.cells, strict=True):
            down.build(shape)
            shape = down.compute_output_shape(shape)
            cell.build(shape)
        self.built = True

    def call(self, image: tf.Tensor) -> list[tf.Tensor]:
        x, levels = image, []
        for down, cell in zip(self.downs, self.cells, strict=True):
            x = cell(down(x))
            levels.append(x)
        return levels

    def compute_output_shape(self, input_shape: Any) -> list[tuple[Any, ...]]:
        shape, shapes = tuple(input_shape), []
        for down in self.downs:
            shape = down.compute_output_shape(shape)
            shapes.append(shape)
        return shapes

    def get_config(self) -> dict[str, Any]:
        own: Mapping[str, Any] = {
            "ndims": self.ndims,
            "filters": self.filters,
            "operations": [[layer.operations for layer in cell.choices] for cell in self.cells],
            "searched": self.searched,
        }
        return {**super().get_config(), **own}
