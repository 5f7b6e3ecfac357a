"""Outer gradients without second derivatives, by a dynamic barrier on the value function."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import (
    HypergradientMethod,
    added,
    finished,
    inner_product,
    remember,
    remembered_zeros,
)
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.errors import positive


class BOME(HypergradientMethod):
    """Bilevel optimisation made easy: descent of the outer loss under the constraint ``q = g - min g <= 0``.

    A copy of the inner variables and the outer ones descend together along ``dF + weight * dq``, where F is
    the outer and g the inner loss. The weight is the smallest that lets q fall at the rate
    ``barrier * |dq|^2``: ``max(0, barrier - <dF, dq> / |dq|^2)``. In the minimum of g stand the inner
    variables, where the paper takes a few steps from the copy.

    Assumes that the inner variables are at a minimum, and that the copy and the outer variables move
    slowly: what is returned is the outer part of a direction of descent in both, not the hypergradient at
    the present outer variables. With these held fixed the weight would settle, and with it a bias of the
    order of one over the weight; on the way to a minimum the weight grows without bound and the bias
    vanishes.
    In the first call the copy and the inner variables are the same, and only the direct derivative is left.

    The copy is kept as its difference from the inner variables, so that it follows them when they are trained
    between calls. It moves by one preconditioned gradient in each call.

    Args:
        barrier: Rate at which the constraint is approached, called eta in the paper.

    Reference: Ye et al., NeurIPS 2022.

    >>> w, a = tf.Variable(2.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: (w - 1) ** 2)
    >>> method = BOME()
    >>> for _ in range(200):
    ...     _ = a.assign_sub(0.05 * method(problem).gradients[0])
    ...     problem.inner_step()
    >>> abs(float(a) - 1) < 0.05
    True
    """

    def __init__(self, barrier: float = 0.5) -> None:
        self.barrier = positive("barrier", barrier)

    def build(self, variables: Sequence[tf.Variable]) -> None:
        self.variables = remembered_zeros(variables)

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        self.ready(problem)
        before = problem.values()
        _, _, at_minimum = problem.gradients(problem.inner_loss)
        apart = [tf.convert_to_tensor(v) for v in self.variables]
        problem.assign(added(before, apart))
        loss, *outer = problem.outer_gradients()
        _, inward, towards = problem.gradients(problem.inner_loss)
        problem.assign(before)
        downhill, excess = [*outer[0], *outer[1]], [*inward, *added(towards, at_minimum, -1.0)]
        size = inner_product(excess, excess)
        aligned = tf.math.divide_no_nan(inner_product(downhill, excess), size)
        weight = tf.where(size > 0, tf.maximum(tf.cast(self.barrier, size.dtype) - aligned, 0), 0)
        both = added(downhill, excess, weight)
        step = problem.optimizer.precondition(both[: len(before)], problem.state)
        remember(self.variables, added(apart, step, -1.0))
        return finished(both[len(before) :], loss, 3)
