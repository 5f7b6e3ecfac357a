"""Feature-wise linear modulation: channels are scaled by a function of a condition."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_from, stored_as
from bilevelmorph.errors import positive

# Adam moves kernels by about the learning rate per step; this gain lets a response form in about 100 steps.
GAIN = 4.0


@renamed_from("Modulation")
@keras.saving.register_keras_serializable("bilevelmorph")
class FiLM(keras.layers.Layer):
    """Multiply channels by ``exp(gain * condition @ kernel)``; the identity initially and for condition 0.

    Args:
        conditions: Length of the condition.
        gain: Factor of the exponent.

    Input: ``[B, *S, C]`` and ``[B, conditions]`` or ``[1, conditions]``. Output: ``[B, *S, C]``.

    Reference: Perez et al., FiLM, AAAI 2018.

    >>> layer = FiLM(1)
    >>> layer([tf.ones([1, 2, 1]), tf.zeros([1, 1])]).numpy().tolist()
    [[[1.0], [1.0]]]
    """

    def __init__(self, conditions: int, gain: float = GAIN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conditions = int(positive("conditions", conditions, whole=True))
        self.gain = float(positive("gain", gain))

    def build(self, input_shape: Any) -> None:
        size = (self.conditions, input_shape[0][-1])
        self.kernel = self.add_weight(name="kernel", shape=size, initializer="zeros")
        self.built = True

    def call(self, inputs: Any) -> tf.Tensor:
        x, condition = inputs
        exponent = tf.matmul(tf.cast(condition, x.dtype), tf.cast(self.kernel, x.dtype))
        for _ in range(x.shape.rank - 2):
            exponent = exponent[:, None]
        return x * tf.exp(self.gain * exponent)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return tuple(input_shape[0])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "conditions": self.conditions, "gain": self.gain}

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(stored_as(store, "fi_lm", "modulation"))
