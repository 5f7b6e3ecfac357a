"""Hypergradients through many inner steps, by forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, finished, inner_product
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
        directions = _unit_directions(problem.outer_variables)
        nothing = [[tf.zeros_like(x) for x in (*before, *state)]]
        tangents = nothing * len(directions)
        for _ in range(self.steps):
            values, state, tangents = self._advance(problem, state, tangents, directions)
            problem.assign(values)
        loss, by_inner, direct = problem.outer_gradients()
        count = len(before)
        indirect = iter([inner_product(by_inner, along[:count]) for along in tangents])
        total = []
        for gradient in direct:
            entries = [next(indirect) for _ in range(int(np.prod(gradient.shape)))]
            total.append(gradient + tf.reshape(tf.stack(entries), gradient.shape))
        problem.assign(before)
        return finished(total, loss, 1 + (1 + 2 * len(directions)) * self.steps)

    @staticmethod
    def _advance(
        problem: BilevelProblem, state: Tensors, tangents: list[Tensors], directions: list[Tensors]
    ) -> tuple[Tensors, Tensors, list[Tensors]]:
        """New values and state, and their derivatives given those of the present ones.

        A product with the Jacobian of a step is the derivative of a product with its
        transpose, in which that is linear. TensorFlow's own forward mode traces a
        function for every operation, which takes minutes.
        """
        state = [tf.identity(s) for s in state]
        primals = [*problem.inner_variables, *state, *problem.outer_variables]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(primals)
                new, new_state = problem.optimizer.update(problem.values(), problem.inner_gradient(), state)
                results = [tf.identity(x) for x in (*new, *new_state)]
            weights = [tf.zeros_like(x) for x in results]
            outer.watch(weights)
            # The inner tape is used under the outer one, which records the product.
            back = inner.gradient(results, primals, weights, unconnected_gradients="zero")
        moved = [
            outer.gradient(back, weights, [*along, *direction], unconnected_gradients="zero")
            for along, direction in zip(tangents, directions, strict=True)
        ]
        return new, new_state, moved


def _unit_directions(variables: Sequence[tf.Variable]) -> list[Tensors]:
    """For every entry of the variables, the direction along which only it changes."""
    directions = []
    for number, variable in enumerate(variables):
        for entry in range(int(np.prod(variable.shape))):
            one = tf.reshape(
                tf.one_hot(entry, int(np.prod(variable.shape)), dtype=variable.dtype), variable.shape
            )
            directions.append([one if k == number else tf.zeros_like(v) for k, v in enumerate(variables)])
    return directions
