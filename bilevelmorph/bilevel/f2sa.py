"""Hypergradients without second derivatives, by a penalty on the inner loss."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import CONVERGED, NOT_CONVERGED, Hypergradient
from bilevelmorph.bilevel.hypergradient_method import (
    HypergradientMethod,
    added,
    finished,
    norm,
    remember,
    remembered_zeros,
)
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.errors import positive

# How many times as steep as at the inner variables it may become before the copy runs away.
_GROWTH = 100.0


class F2SA(HypergradientMethod):
    """Fully first-order stochastic approximation: the derivative of ``F + penalty * (g - min g)``.

    With `z` the inner variables and `y` a copy of them that minimises ``g + F / penalty``, where F is the
    outer and g the inner loss, the hypergradient is ``dF(y) + penalty * (dg(y) - dg(z))``, all derivatives
    taken with respect to the outer variables alone.

    Assumes that the inner variables are at a minimum, around which the inner loss is strongly convex, and
    that the penalty is large against the curvature of the outer loss divided by that of the inner one. A
    call moves the copy by a few steps only; calls in a row bring it closer. What then remains is a bias of
    the order of ``1 / penalty``, while rounding errors grow with the penalty. The status says nothing of
    either; where the copy runs away, because preconditioned steps are too long for the curvature, it is put
    back, and the call has not converged.

    The copy is kept as its difference from the inner variables, so that it follows them when they are trained
    between calls. It moves by preconditioned gradients, as in `Neumann`: started at the inner variables,
    its steps are the terms of that series, up to the bias. The inner gradient that is left at the inner
    variables, zero at their minimum, is subtracted from that of the copy, which the papers do not do.

    Args:
        penalty: Weight of the inner loss, lambda in the papers; constant, as in Chen et al.
        steps: Steps of the copy in each call.

    Reference: Kwon et al., ICML 2023; Chen, Ma and Zhang, arXiv 2306.14853.

    >>> w, a = tf.Variable(2.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> [round(float(F2SA(penalty, steps=100)(problem).gradients[0]), 2) for penalty in (10.0, 100.0)]
    [3.64, 3.96]
    """

    def __init__(self, penalty: float = 100.0, steps: int = 10) -> None:
        self.penalty = positive("penalty", penalty)
        self.steps = int(positive("steps", steps, whole=True))

    def build(self, variables: Sequence[tf.Variable]) -> None:
        self.variables = remembered_zeros(variables)

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        self.ready(problem)
        before = problem.values()
        _, residual, at_minimum = problem.gradients(problem.inner_loss)

        def body(k: tf.Tensor, _: tf.Tensor, *apart: tf.Tensor) -> tuple[tf.Tensor, ...]:
            problem.assign(added(before, list(apart)))
            _, outer, _ = problem.outer_gradients()
            # Otherwise what the inner variables lack to their minimum would be multiplied by the penalty.
            slope = added(added(problem.inner_gradient(), residual, -1.0), outer, 1 / self.penalty)
            step = problem.optimizer.precondition(slope, problem.state)
            # At the inner variables the slope is that of the outer loss alone, and it falls from there.
            growth = tf.math.divide_no_nan(self.penalty * norm(slope), norm(outer))
            return (k + 1, growth, *added(list(apart), step, -1.0))

        previous = [tf.convert_to_tensor(v) for v in self.variables]
        start = (tf.constant(0), tf.zeros([], residual[0].dtype), *previous)
        _, growth, *parts = tf.while_loop(
            lambda k, growth, *_: (growth <= _GROWTH) & (k < self.steps), body, start, parallel_iterations=1
        )
        # A bad batch is forgotten; a copy that runs away begins anew.
        steady, back = growth <= _GROWTH, tf.math.is_nan(growth)
        kept = [tf.where(back, old, tf.zeros_like(old)) for old in previous]
        apart = [tf.where(steady, new, old) for new, old in zip(parts, kept, strict=True)]
        problem.assign(added(before, apart))
        loss, _, direct = problem.outer_gradients()
        _, _, penalised = problem.gradients(problem.inner_loss)
        problem.assign(before)
        remember(self.variables, apart)
        gradients = added(direct, added(penalised, at_minimum, -1.0), self.penalty)
        status = tf.where(steady, CONVERGED, NOT_CONVERGED)
        return finished(gradients, loss, 3 + 2 * self.steps, status)
