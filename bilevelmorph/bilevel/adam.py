"""Adam as an inner optimiser, with the update rule of Keras."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bilevelmorph.bilevel.inner_optimizer import InnerOptimizer, clipped
from bilevelmorph.errors import fail, positive

Tensors = list[tf.Tensor]


class Adam(InnerOptimizer):
    """Adam; its state holds the number of steps and the first and second moments.

    Args:
        rate: Learning rate, a number or a tensor.
        beta_1, beta_2, epsilon: As in Keras.
        clip_norm: Largest joint norm of the gradients; 0 for no clipping.

    Reference: Kingma and Ba, ICLR 2015.

    >>> adam, one = Adam(0.1), [tf.constant(1.0)]
    >>> values, state = adam.update(one, one, adam.initial_state(one))
    >>> round(float(values[0]), 4), len(state)
    (0.9, 3)
    """

    def __init__(
        self,
        rate: Any = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        clip_norm: float = 0.0,
    ) -> None:
        self.rate = rate if tf.is_tensor(rate) else positive("rate", rate)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.clip_norm = positive("clip_norm", clip_norm, zero=True)

    @classmethod
    def of_keras(cls, optimizer: Any, variables: list[Any]) -> tuple[Adam, Tensors]:
        """Convert a built Keras Adam into a pure function and its present state.

        Args:
            optimizer: `keras.optimizers.Adam`, with no clipping but `global_clipnorm`.
            variables: Variables that it trains, in the order in which it was built with them.

        Raises:
            InputError: The optimiser is not Adam, or uses an unsupported option.
        """
        if type(optimizer).__name__ != "Adam" or optimizer.amsgrad:
            raise fail("inner optimiser", type(optimizer).__name__, "Adam without amsgrad")
        for name in ("clipnorm", "clipvalue", "weight_decay"):
            if getattr(optimizer, name):
                raise fail(
                    "inner optimiser",
                    f"Adam with {name}",
                    "no option but global_clipnorm",
                )
        adam = cls(
            tf.convert_to_tensor(optimizer.learning_rate),
            optimizer.beta_1,
            optimizer.beta_2,
            optimizer.epsilon,
            optimizer.global_clipnorm or 0.0,
        )
        index = [optimizer._get_variable_index(v) for v in variables]
        slots = (optimizer._momentums, optimizer._velocities)
        moments = [tf.convert_to_tensor(slot[i]) for slot in slots for i in index]
        return adam, [tf.cast(tf.convert_to_tensor(optimizer.iterations), moments[0].dtype), *moments]

    def initial_state(self, values: Tensors) -> Tensors:
        zeros = [tf.zeros_like(v) for v in values]
        return [tf.zeros([], values[0].dtype), *zeros, *zeros]

    def update(self, values: Tensors, gradients: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        gradients = clipped(gradients, self.clip_norm)
        count, first, second = state[0] + 1, *self._moments(state)
        first = [m + (g - m) * (1 - self.beta_1) for m, g in zip(first, gradients, strict=True)]
        second = [v + (g * g - v) * (1 - self.beta_2) for v, g in zip(second, gradients, strict=True)]
        rate = self._rate(count)
        new = [
            x - rate * m / (_root(v) + self.epsilon) for x, m, v in zip(values, first, second, strict=True)
        ]
        return new, [count, *first, *second]

    def precondition(self, vectors: Tensors, state: Tensors) -> Tensors:
        _, second = self._moments(state)
        settled = tf.cast(self.rate, vectors[0].dtype) * tf.sqrt(1 - self.beta_2 ** tf.maximum(state[0], 1))
        return [settled * x / (tf.sqrt(v) + self.epsilon) for x, v in zip(vectors, second, strict=True)]

    def _rate(self, count: tf.Tensor) -> tf.Tensor:
        """The learning rate with bias correction."""
        rate = tf.cast(self.rate, count.dtype)
        return (
            rate
            * tf.sqrt(1 - tf.pow(tf.cast(self.beta_2, count.dtype), count))
            / (1 - tf.pow(tf.cast(self.beta_1, count.dtype), count))
        )

    @staticmethod
    def _moments(state: Tensors) -> tuple[Tensors, Tensors]:
        half = (len(state) - 1) // 2
        return state[1 : 1 + half], state[1 + half :]


def _root(x: tf.Tensor) -> tf.Tensor:
    """Square root whose derivative at zero is zero, because an infinite one would give NaN gradients."""
    positive_part = x > 0
    return tf.where(positive_part, tf.sqrt(tf.where(positive_part, x, tf.ones_like(x))), tf.zeros_like(x))
