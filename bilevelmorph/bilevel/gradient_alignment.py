"""Hypergradients through one gradient descent step, with a running mean of the outer gradient."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from bilevelmorph.bilevel.finite_difference_unroll import mixed_difference
from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, added, finished, remember
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.errors import fail, positive


class GradientAlignment(HypergradientMethod):
    """Whether a descent step on each inner term also reduces the outer loss: ``r = rate * mean(grad)``.

    For stochastic problems, where every call uses another batch. The outer
    gradient is averaged over calls, because that of a single batch is mostly
    noise. Of the inner optimiser only the learning rate is used; Adam's
    normalisation is ignored, because it would let weights with tiny gradients
    dominate the hypergradient.

    Args:
        memory: Time constant of the running mean, in calls.
        size: Step of the central difference, see `FiniteDifferenceUnroll`.

    Reference: Luketina et al., ICML 2016, for one batch at a time.

    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(GradientAlignment()(problem).gradients[0]), 3)  # 2 w times 0.1, times -(-2)
    0.4
    """

    def __init__(self, memory: float = 20.0, size: float = 0.01) -> None:
        self.size, self.memory = positive("size", size), memory
        if not memory >= 1:
            raise fail("memory", memory, "1 call or more")

    def build(self, variables: Sequence[tf.Variable]) -> None:
        # The running mean starts at zero and is therefore biased; the last variable tracks the correction.
        kinds = [(v.shape, v.dtype.name) for v in variables]
        kinds.append(((), kinds[0][1]))
        self.variables = [
            keras.Variable("zeros", shape=shape, dtype=dtype, trainable=False) for shape, dtype in kinds
        ]

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        self.ready(problem)
        loss, inner, direct = problem.outer_gradients()
        new = [
            v + (x - v) / self.memory
            for v, x in zip(self.variables, [*inner, tf.ones([], inner[0].dtype)], strict=True)
        ]
        remember(self.variables, new)
        rate = tf.cast(problem.optimizer.rate, new[-1].dtype) / new[-1]
        vectors = [tf.cast(rate, x.dtype) * x for x in new[:-1]]
        return finished(added(direct, mixed_difference(problem, vectors, self.size), -1.0), loss, 3)
