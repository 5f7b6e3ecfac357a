"""A sum of projected inputs, each behind a gate that a search opens or closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, one_of, positive
from bilevelmorph.layers.bernoulli_gate import BernoulliGate
from bilevelmorph.layers.convolution import convolution


@keras.saving.register_keras_serializable("bilevelmorph")
class GatedSum(keras.layers.Layer):
    """``sum_i g_i P_i(x_i)`` with gates g and 1x1 convolutions P; selects the inputs of a cell.

    Args:
        ndims: 2 or 3.
        filters: Channels of the output.
        names: Names of the inputs.
        searched: Whether the gates are searched; otherwise all are open.

    The state and logits of `gates` are not trainable weights; see `BernoulliGate`.

    Input: dictionary of ``[B, *S, C_i]`` by name. Output: ``[B, *S, filters]``.

    Reference: Fan et al., AutoReg, TIP 2023, which leaves the topology between cells open.

    >>> layer = GatedSum(2, 4, ["cost", "features"])
    >>> layer({"cost": tf.ones([1, 8, 8, 9]), "features": tf.ones([1, 8, 8, 2])}).shape.as_list()
    [1, 8, 8, 4]
    """

    def __init__(
        self, ndims: int, filters: int, names: Sequence[str], searched: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not names or len(set(names)) < len(names):
            raise fail("names", list(names), "at least one, each once")
        self.ndims, self.filters = ndims, int(positive("filters", filters, whole=True))
        self.names, self.searched = list(names), searched
        self.gates = BernoulliGate(len(self.names), name="gates") if searched else None
        self.projections = {
            name: convolution(ndims, filters, 1, active=False, name=name, dtype=self.dtype_policy)
            for name in self.names
        }

    def build(self, input_shape: Any) -> None:
        for name in self.names:
            self.projections[name].build(tuple(input_shape[one_of("input", name, input_shape)]))
        self.built = True

    @property
    def probabilities(self) -> tf.Tensor:
        """Probability that each input is used, float32."""
        return self.gates.probabilities if self.gates is not None else tf.ones([len(self.names)])

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        parts = [self.projections[name](inputs[name]) for name in self.names]
        if self.gates is None:
            return tf.add_n(parts)
        shares = tf.unstack(tf.cast(self.gates(), parts[0].dtype), len(parts))
        return tf.add_n([p * x for p, x in zip(shares, parts, strict=True)])

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*tuple(input_shape[self.names[0]])[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ndims": self.ndims,
            "filters": self.filters,
            "names": self.names,
            "searched": self.searched,
        }
