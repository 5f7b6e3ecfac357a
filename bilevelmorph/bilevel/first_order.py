"""The cheapest method: the inner variables are treated as constants."""

from __future__ import annotations

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, finished
from bilevelmorph.bilevel.problem import BilevelProblem


class FirstOrder(HypergradientMethod):
    """The direct derivative alone.

    Zero where the outer loss does not contain the outer variables; useful where
    it does, as with architecture weights.

    Reference: Liu et al., DARTS, ICLR 2019.

    >>> import tensorflow as tf
    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: (w + a) ** 2)
    >>> float(FirstOrder()(problem).gradients[0])
    6.0
    """

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        loss, _, direct = problem.outer_gradients()
        return finished(direct, loss, 1)
