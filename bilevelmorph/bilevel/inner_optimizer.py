"""The base class of inner optimisers, as hypergradient methods need them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from bilevelmorph.bilevel.problem import BilevelProblem

Tensors = list[tf.Tensor]


class InnerOptimizer(ABC):
    """A training step as a pure function of values, gradients and state.

    >>> from bilevelmorph.bilevel import GradientDescent
    >>> inner, w, g = GradientDescent(0.1), [tf.constant(1.0)], [tf.constant(2.0)]
    >>> values, state = inner.update(w, g, inner.initial_state(w))
    >>> round(float(values[0]), 4)
    0.8
    >>> [round(float(v), 4) for v in inner.step_transposed(w, g, state, [tf.constant(1.0)])]
    [0.1]
    """

    # Learning rate, a number or a tensor.
    rate: Any

    @abstractmethod
    def initial_state(self, values: Tensors) -> Tensors:
        """The state before the first step."""

    @abstractmethod
    def update(self, values: Tensors, gradients: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Take one step.

        Args:
            values: Values of the variables.
            gradients: Gradients of the loss at these values.
            state: From `initial_state` or the previous step.

        Returns:
            New values and new state.
        """

    @abstractmethod
    def precondition(self, vectors: Tensors, state: Tensors) -> Tensors:
        """`vectors` times the present step length of each weight.

        The effect of `update` on a small gradient once its running means have settled.
        """

    def steps(self, problem: BilevelProblem, count: int, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """Take several steps of the inner variables of a problem, as one loop.

        Args:
            problem: Its inner variables are moved.
            count: Number of steps.
            state: From `initial_state` or the previous step.

        Returns:
            New state, and the number of gradients that were evaluated.
        """

        def step(k: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
            values, new = self.update(problem.values(), problem.inner_gradient(), list(state))
            problem.assign(values)
            return (k + 1, *new)

        k, *state = tf.while_loop(
            lambda k, *_: k < count, step, (tf.constant(0), *state), parallel_iterations=1
        )
        return list(state), k

    def step_transposed(
        self, values: Tensors, gradients: Tensors, state: Tensors, vectors: Tensors
    ) -> Tensors:
        """Negative transposed Jacobian of the step with respect to the gradients, times `vectors`.

        For gradient descent this is the learning rate times `vectors`; for Adam it includes
        the preconditioner, the running means and clipping.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(gradients)
            new, _ = self.update(values, gradients, state)
        back = tape.gradient(new, gradients, output_gradients=vectors, unconnected_gradients="zero")
        return [-b for b in back]


def clipped(gradients: Tensors, norm: float) -> Tensors:
    """Scale gradients so that their joint norm is at most `norm`; 0 for no clipping.

    >>> [float(g) for g in clipped([tf.constant(3.0), tf.constant(4.0)], 1.0)]
    [0.6000000238418579, 0.800000011920929]
    """
    return tf.clip_by_global_norm(gradients, norm)[0] if norm else gradients
