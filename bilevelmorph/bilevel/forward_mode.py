"""Hypergradients through many inner steps, by forward-mode differentiation."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import (
    HypergradientMethod,
    along_directions,
    finished,
    pushed_forward,
    unit_directions,
)
from bilevelmorph.bilevel.problem import BilevelProblem, Tensors
from bilevelmorph.errors import positive


class ForwardMode(HypergradientMethod):
    """The outer loss after T inner steps, differentiated through all of them while they are taken.

    The derivative of the inner variables with respect to each number of the outer problem
    is carried along with them. Memory does not grow with T, but time grows with
    the number of outer entries: the method of choice for few of them and many steps.

    Args:
        steps: Number of inner steps, T.

    Reference: Franceschi et al., ICML 2017.

    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(ForwardMode(2)(problem).gradients[0]), 6)  # w'' = 0.64 w + 0.36 a = 1.36
    0.9792
    """

    def __init__(self, steps: int = 5) -> None:
        self.steps = int(positive("steps", steps, whole=True))

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        before, state = problem.values(), problem.state
        directions = unit_directions(problem.outer_variables)
        count = len(before)
        tangents = [[tf.zeros_like(x) for x in (*before, *state)]] * len(directions)

        for _ in range(self.steps):
            present = [tf.identity(s) for s in state]

            def step(present: Tensors = present) -> Tensors:
                new, newer = problem.optimizer.update(problem.values(), problem.inner_gradient(), present)
                return [*new, *newer]

            sources = [*problem.inner_variables, *present, *problem.outer_variables]
            ways = [[*along, *way] for along, way in zip(tangents, directions, strict=True)]
            results, tangents = pushed_forward(step, sources, ways)
            state = results[count:]
            problem.assign(results[:count])
        loss, by_inner, direct = problem.outer_gradients()
        total = along_directions(by_inner, direct, [along[:count] for along in tangents])
        problem.assign(before)
        return finished(total, loss, 1 + (1 + 2 * len(directions)) * self.steps)
