"""First-order hypergradients, which treat the inner variables as constants."""

from __future__ import annotations

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, finished
from bilevelmorph.bilevel.problem import BilevelProblem


class FirstOrder(HypergradientMethod):
    """The direct derivative of the outer loss alone; the cheapest method.

    Useful if the outer loss depends directly on the outer variables, as with
    architecture weights; otherwise it is zero.

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
