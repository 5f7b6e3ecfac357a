"""The cheapest strategy: the lower problem is taken to stand still."""

from __future__ import annotations

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, finished
from bilevelmorph.bilevel.problem import BilevelProblem


class FirstOrder(HypergradientMethod):
    """The direct derivative alone.

    Zero where the upper loss does not contain the upper variables; useful where
    it does, as with architecture weights.

    Reference: Liu et al., DARTS, ICLR 2019.

    >>> import tensorflow as tf
    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: (w + a) ** 2)
    >>> float(FirstOrder()(problem).gradients[0])
    6.0
    """

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        loss, _, direct = problem.upper_gradients()
        return finished(direct, loss, 1)
