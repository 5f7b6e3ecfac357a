"""A chain of searched layers, whose length is searched as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, positive
from bilevelmorph.layers.mixed_op import OPERATIONS, MixedOp
from bilevelmorph.ops.grid import as_field


@keras.saving.register_keras_serializable("bilevelmorph")
class Cell(keras.layers.Layer):
    """A chain of `MixedOp` layers; the output is a mixture of the outputs of all of them.

    Args:
        ndims: 2 or 3.
        filters: Channels of every layer.
        operations: For each layer, the operations to choose from; a single one fixes the layer.
        deep: Whether the output is that of the last layer rather than a mixture.
        temperature: Softmax temperature of all mixtures.

    The logits `depth` of the mixture are not trainable weights; see `MixedOp`.

    Input: ``[B, *S, C]``. Output: ``[B, *S, filters]``.

    Reference: Fan et al., AutoReg, TIP 2023 (there every cell has three layers).

    >>> cell = Cell(2, 4, [["conv1", "conv3"]] * 3)
    >>> cell(tf.ones([1, 8, 8, 2])).shape.as_list(), len(cell.choices)
    ([1, 8, 8, 4], 3)
    """

    def __init__(
        self,
        ndims: int,
        filters: int,
        operations: Sequence[Sequence[str]] = (OPERATIONS,) * 3,
        deep: bool = False,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not operations:
            raise fail("operations", "no layers", "at least one")
        self.ndims, self.filters, self.deep = ndims, filters, deep
        self.temperature = positive("temperature", temperature)
        self.choices = [
            MixedOp(ndims, filters, names, temperature, name=f"layer{i}", dtype=self.dtype_policy)
            for i, names in enumerate(operations)
        ]

    @property
    def searched(self) -> bool:
        """Whether the number of layers is searched."""
        return not self.deep and len(self.choices) > 1

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for layer in self.choices:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        if self.searched:
            count = (len(self.choices),)
            self.depth = self.add_weight(name="depth", shape=count, initializer="zeros", trainable=False)
            start = keras.initializers.Constant(self.temperature)
            self.softmax_temperature = self.add_weight(
                name="temperature", shape=(), initializer=start, trainable=False
            )
        self.built = True

    @property
    def probabilities(self) -> tf.Tensor:
        """Probability that the cell ends after each layer, float32."""
        if not self.searched:
            return tf.one_hot(len(self.choices) - 1, len(self.choices))
        return tf.nn.softmax(as_field(self.depth) / as_field(self.softmax_temperature))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        outputs = []
        for layer in self.choices:
            x = layer(x)
            outputs.append(x)
        if not self.searched:
            return x
        shares = tf.unstack(tf.cast(self.probabilities, x.dtype), len(outputs))
        return tf.add_n([p * y for p, y in zip(shares, outputs, strict=True)])

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*tuple(input_shape)[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ndims": self.ndims,
            "filters": self.filters,
            "operations": [layer.operations for layer in self.choices],
            "deep": self.deep,
            "temperature": self.temperature,
        }
