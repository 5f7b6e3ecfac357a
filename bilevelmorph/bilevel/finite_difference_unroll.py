"""Hypergradients through one inner step, by finite differences as in the papers."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, added, norm
from bilevelmorph.bilevel.one_step_unroll import after_one_step
from bilevelmorph.bilevel.problem import BilevelProblem, Tensors
from bilevelmorph.errors import positive


class FiniteDifferenceUnroll(HypergradientMethod):
    """`OneStepUnroll` with a central difference in place of second derivatives.

    Cheap if the outer variables are loss weights: their gradients at the two
    points need no backward pass through the network.

    Args:
        size: Joint Euclidean distance of each of the two points from the centre.

    Reference: Liu et al., DARTS, ICLR 2019.

    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(FiniteDifferenceUnroll()(problem).gradients[0]), 3)
    0.48
    """

    def __init__(self, size: float = 0.01) -> None:
        self.size = positive("size", size)

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        return after_one_step(problem, partial(mixed_difference, size=self.size))


def mixed_difference(problem: BilevelProblem, vectors: Tensors, size: float) -> Tensors:
    """``(d2 inner / d outer d inner) vectors`` by a central difference, for each outer variable.

    Args:
        problem: Evaluated at its present values, which are restored afterwards.
        vectors: One tensor for each inner variable.
        size: Joint Euclidean distance of each of the two points from the centre.
    """
    before, length = problem.values(), norm(vectors)
    step = tf.cast(size, length.dtype) / tf.maximum(length, tf.cast(1e-12, length.dtype))
    ends = []
    for sign in (1.0, -1.0):
        problem.assign(added(before, vectors, sign * step))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(problem.outer_variables)
            loss = problem.inner_loss()
        ends.append(tape.gradient(loss, problem.outer_variables, unconnected_gradients="zero"))
    problem.assign(before)
    return [(a - b) / (2 * tf.cast(step, a.dtype)) for a, b in zip(*ends, strict=True)]
