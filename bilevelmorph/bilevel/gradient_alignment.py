"""One step of plain gradient descent, for the upper gradient of many calls."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from bilevelmorph.bilevel.finite_difference_unroll import mixed_difference
from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, added, finished
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.errors import fail, positive


class GradientAlignment(HypergradientMethod):
    """Does what a term of the lower loss asks for lower the upper loss too? ``r = rate * mean(grad)``.

    For problems whose every call sees another batch. The upper gradient is
    averaged over the calls, because that of one batch is noise for the most
    part; and weights that training hardly touches, whose steps Adam makes as
    large as any, do not drown the others: `rate` is that of the inner
    optimiser, what else it does is left out.

    Args:
        memory: Calls that the mean remembers.
        size: Of the central difference, see `FiniteDifferenceUnroll`.

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
        # A mean that begins with nothing is of a share of all; the last says of what share.
        kinds = [(v.shape, v.dtype.name) for v in variables]
        kinds.append(((), kinds[0][1]))
        self.variables = [
            keras.Variable("zeros", shape=shape, dtype=dtype, trainable=False) for shape, dtype in kinds
        ]

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        if not self.variables:
            with tf.init_scope():
                self.build(problem.lower_variables)
        loss, lower, direct = problem.upper_gradients()
        new = [
            v + (x - v) / self.memory
            for v, x in zip(self.variables, [*lower, tf.ones([], lower[0].dtype)], strict=True)
        ]
        # One bad batch must not spoil all that are to come.
        good = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in new])
        for variable, value in zip(self.variables, new, strict=True):
            variable.assign(tf.where(good, value, variable))
        rate = tf.cast(problem.inner.rate, new[-1].dtype) / new[-1]
        vectors = [tf.cast(rate, x.dtype) * x for x in new[:-1]]
        return finished(added(direct, mixed_difference(problem, vectors, self.size), -1.0), loss, 3)
