"""Binary gates whose state is searched."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_from, stored_as
from bilevelmorph.errors import positive


@renamed_from("Gates")
@keras.saving.register_keras_serializable("bilevelmorph")
class BernoulliGate(keras.layers.Layer):
    """Gates that switch parts of a network on or off: sampled during a search, fixed afterwards.

    The gates are binary, so that a search can compare both states. A continuous scale
    would always shrink towards zero: the following layers can compensate for it, and less
    of any component generalises better to held-out pairs.

    Args:
        count: Number of gates.
        start: Initial logit of the probability that a gate is open.

    `logits` and `sampled` are not trainable weights. Input: none. Output:
    ``[count]`` float32, ones and zeros.

    >>> gates = BernoulliGate(3)
    >>> gates().numpy().tolist(), round(float(gates.probabilities[0]), 2)
    ([1.0, 1.0, 1.0], 0.88)
    """

    def __init__(self, count: int, start: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.start = int(positive("count", count, whole=True)), float(start)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        if getattr(self, "built", False):
            return
        start = keras.initializers.Constant(self.start)
        options: dict[str, Any] = {"shape": (self.count,), "trainable": False, "dtype": "float32"}
        self.logits = self.add_weight(name="logits", initializer=start, **options)
        self.sampled = self.add_weight(name="sampled", initializer="ones", **options)
        self.built = True

    @property
    def probabilities(self) -> tf.Tensor:
        """Probability that each gate is open, ``[count]`` float32."""
        return tf.sigmoid(tf.convert_to_tensor(self.logits))

    def call(self, inputs: Any = None) -> tf.Tensor:
        return tf.convert_to_tensor(self.sampled)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "start": self.start}

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(stored_as(store, "bernoulli_gate", "gates"))
