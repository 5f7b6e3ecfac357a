"""One inner step, differentiated exactly."""

from __future__ import annotations

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.problem import BilevelProblem, Tensors
from bilevelmorph.bilevel.strategy import Strategy, added, finished, mixed_product


class OneStep(Strategy):
    """The upper loss after one inner step, differentiated through that step by nested tapes.

    Exact for the step as the inner optimiser takes it: Adam's preconditioner,
    averages and clipping included.

    Reference: Liu et al., DARTS, ICLR 2019 (there with finite differences).

    >>> import tensorflow as tf
    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(OneStep()(problem).gradients[0]), 6)  # w' = 0.8 w + 0.2 a = 1.2
    0.48
    """

    cost = 4

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        before, gradients = problem.values(), problem.lower_gradient()
        after, _ = problem.inner.update(before, gradients, problem.state)
        problem.assign(after)
        loss, lower, direct = problem.upper_gradients()
        problem.assign(before)
        vectors = problem.inner.step_transposed(before, gradients, problem.state, lower)
        indirect = self.product(problem, vectors)
        return finished(added(direct, indirect, -1.0), loss, self.cost)

    def product(self, problem: BilevelProblem, vectors: Tensors) -> Tensors:
        """Mixed second derivatives of the lower loss times `vectors`."""
        return mixed_product(problem, vectors)
