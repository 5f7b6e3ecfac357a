"""Gradient descent as an inner optimiser."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.bilevel.inner_optimizer import InnerOptimizer, clipped
from bilevelmorph.errors import positive

Tensors = list[tf.Tensor]


class GradientDescent(InnerOptimizer):
    """Gradient descent, optionally with momentum: ``m = momentum * m + gradient; w = w - rate * m``.

    Args:
        rate: Learning rate, a number or a tensor.
        momentum: Momentum coefficient; 0 for none.
        clip_norm: Largest joint norm of the gradients; 0 for no clipping.

    >>> values, _ = GradientDescent(0.5).update([tf.constant(1.0)], [tf.constant(1.0)], [])
    >>> float(values[0])
    0.5
    """

    def __init__(self, rate: float, momentum: float = 0.0, clip_norm: float = 0.0) -> None:
        self.rate = rate if tf.is_tensor(rate) else positive("rate", rate)
        self.momentum = positive("momentum", momentum, zero=True)
        self.clip_norm = positive("clip_norm", clip_norm, zero=True)

    def initial_state(self, values: Tensors) -> Tensors:
        return [tf.zeros_like(v) for v in values] if self.momentum else []

    def update(self, values: Tensors, gradients: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        gradients = clipped(gradients, self.clip_norm)
        if self.momentum:
            state = [self.momentum * s + g for s, g in zip(state, gradients, strict=True)]
            gradients = state
        return [v - tf.cast(self.rate, v.dtype) * g for v, g in zip(values, gradients, strict=True)], state

    def precondition(self, vectors: Tensors, state: Tensors) -> Tensors:
        return [tf.cast(self.rate, v.dtype) / (1 - self.momentum) * v for v in vectors]
