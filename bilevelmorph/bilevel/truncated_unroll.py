"""Hypergradients through several inner steps, by reverse-mode differentiation."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import HypergradientMethod, added, finished, pulled_back
from bilevelmorph.bilevel.problem import BilevelProblem, Tensors
from bilevelmorph.errors import positive


class TruncatedUnroll(HypergradientMethod):
    """The outer loss after T inner steps, differentiated through all of them.

    The forward pass keeps only values and optimiser states; the backward pass
    recomputes each step, so activations take the memory of one step.

    Args:
        steps: Number of inner steps, T.

    Reference: Shaban et al., AISTATS 2019.

    >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(TruncatedUnroll(2)(problem).gradients[0]), 6)  # w'' = 0.64 w + 0.36 a = 1.36
    0.9792
    """

    def __init__(self, steps: int = 5) -> None:
        self.steps = int(positive("steps", steps, whole=True))

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        before, state = problem.values(), problem.state
        track = []
        for _ in range(self.steps):
            values = problem.values()
            track.append((values, state))
            values, state = problem.optimizer.update(values, problem.inner_gradient(), state)
            problem.assign(values)
        loss, to_values, total = problem.outer_gradients()
        to_state = [tf.zeros_like(s) for s in state]
        for values, earlier in reversed(track):
            problem.assign(values)
            to_values, to_state, part = self._back(problem, earlier, to_values, to_state)
            total = added(total, part)
        problem.assign(before)
        return finished(total, loss, 1 + 3 * self.steps)

    @staticmethod
    def _back(
        problem: BilevelProblem, state: Tensors, to_values: Tensors, to_state: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        """Gradients with respect to the inputs of a step, from those with respect to its outputs."""
        state = [tf.identity(s) for s in state]

        def step() -> Tensors:
            new, newer = problem.optimizer.update(problem.values(), problem.inner_gradient(), state)
            return [*new, *newer]

        parts = list(problem.inner_variables), state, list(problem.outer_variables)
        _, back = pulled_back(step, [x for part in parts for x in part], [*to_values, *to_state])
        first, second = len(parts[0]), len(parts[0]) + len(state)
        return back[:first], back[first:second], back[second:]
