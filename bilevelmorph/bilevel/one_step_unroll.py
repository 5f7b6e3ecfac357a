"""Hypergradients through one inner step, differentiated exactly."""

from __future__ import annotations

from collections.abc import Callable

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, added, finished, mixed_product
from bilevelmorph.bilevel.problem import BilevelProblem, Tensors


class OneStepUnroll(HypergradientMethod):
    """The outer loss after one inner step, differentiated through that step by nested tapes.

    Exact for one step of the inner optimiser, including Adam's preconditioner,
    running means and clipping.

    Reference: Liu et al., DARTS, ICLR 2019 (who use finite differences).

    >>> import tensorflow as tf
    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(OneStepUnroll()(problem).gradients[0]), 6)  # w' = 0.8 w + 0.2 a = 1.2
    0.48
    """

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        return after_one_step(problem, mixed_product)


def after_one_step(
    problem: BilevelProblem, product: Callable[[BilevelProblem, Tensors], Tensors]
) -> Hypergradient:
    """The hypergradient of the outer loss after one step of the inner optimiser.

    Args:
        problem: Evaluated at its present values, which are restored afterwards.
        product: Multiplies vectors by the mixed second derivatives of the inner loss.
    """
    before, gradients = problem.values(), problem.inner_gradient()
    after, _ = problem.optimizer.update(before, gradients, problem.state)
    problem.assign(after)
    loss, inner, direct = problem.outer_gradients()
    problem.assign(before)
    vectors = problem.optimizer.step_transposed(before, gradients, problem.state, inner)
    return finished(added(direct, product(problem, vectors), -1.0), loss, 4)
