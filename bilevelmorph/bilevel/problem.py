"""A bilevel problem: two nested minimisations over TensorFlow variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from bilevelmorph.bilevel.gradient_descent import GradientDescent
from bilevelmorph.bilevel.inner_optimizer import InnerOptimizer
from bilevelmorph.errors import fail

Tensors = list[tf.Tensor]


@dataclass
class BilevelProblem:
    """Minimise `outer_loss` over the outer variables, while the inner ones minimise `inner_loss`.

    The losses read the variables. They may be random or use a batch, as long as
    two calls at the same values return the same number.

    Args:
        inner_variables: Variables of the inner problem, such as a network's weights, at their present values.
        outer_variables: Variables of the outer problem.
        inner_loss, outer_loss: Functions without arguments that return a scalar.
        optimizer: Optimiser of the inner variables.
        state: Present state of that optimiser; by default its initial state.

    Raises:
        InputError: A variable is on both levels, or a level has none.

    Tuning the penalty of a ridge regression on held-out data:

    >>> from bilevelmorph.bilevel import ConjugateGradient
    >>> x, y = tf.constant([[1.0, 0.2], [0.9, -0.3], [-1.0, 0.1]]), tf.constant([[1.2], [0.7], [-0.9]])
    >>> held_x, held_y = tf.constant([[0.5, 0.5], [-0.7, 0.4]]), tf.constant([[0.5], [-0.7]])
    >>> w, log_penalty = tf.Variable(tf.zeros([2, 1])), tf.Variable(0.0)
    >>> def training_loss():
    ...     ridge = tf.exp(log_penalty) * tf.reduce_sum(w**2)
    ...     return tf.reduce_sum((x @ w - y) ** 2) + ridge
    >>> def held_out_loss():
    ...     return tf.reduce_sum((held_x @ w - held_y) ** 2)
    >>> problem = BilevelProblem([w], [log_penalty], training_loss, held_out_loss, GradientDescent(0.1))
    >>> def solve_inner():
    ...     for _ in range(40):
    ...         problem.inner_step()
    >>> solve_inner()
    >>> before = float(held_out_loss())
    >>> for _ in range(10):
    ...     hypergradient = ConjugateGradient()(problem)
    ...     _ = log_penalty.assign_sub(4.0 * hypergradient.gradients[0])
    ...     solve_inner()
    >>> float(held_out_loss()) < 0.5 * before, hypergradient.converged
    (True, True)
    """

    inner_variables: Sequence[tf.Variable]
    outer_variables: Sequence[tf.Variable]
    inner_loss: Callable[[], tf.Tensor]
    outer_loss: Callable[[], tf.Tensor]
    optimizer: InnerOptimizer = field(default_factory=lambda: GradientDescent(0.1))
    state: Tensors = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("inner_variables", "outer_variables"):
            if not getattr(self, name):
                raise fail(name, "none", "at least one variable")
        shared = {id(v) for v in self.inner_variables} & {id(v) for v in self.outer_variables}
        if shared:
            raise fail("variables", f"{len(shared)} on both levels", "each on one level")
        if not self.state:
            self.state = self.optimizer.initial_state(self.values())

    def values(self) -> Tensors:
        """Values of the inner variables."""
        return [tf.convert_to_tensor(v) for v in self.inner_variables]

    def assign(self, values: Tensors) -> None:
        """Assign values to the inner variables."""
        for variable, value in zip(self.inner_variables, values, strict=True):
            variable.assign(value)

    def inner_slope(self) -> tuple[tf.Tensor, Tensors]:
        """The inner loss, and its gradient with respect to the inner variables."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.inner_variables)
            loss = self.inner_loss()
        return loss, tape.gradient(loss, self.inner_variables, unconnected_gradients="zero")

    def inner_gradient(self) -> Tensors:
        """Gradient of the inner loss with respect to the inner variables."""
        return self.inner_slope()[1]

    def inner_step(self) -> None:
        """Take one step of the inner optimiser."""
        self.inner_steps(1)

    def inner_steps(self, count: int) -> tf.Tensor:
        """Take several steps of the inner optimiser, in a graph as one loop.

        In a graph the optimiser's state, if it has one, is a tensor of that graph afterwards.

        Args:
            count: Number of steps.

        Returns:
            The number of gradients that were evaluated.

        >>> w, a = tf.Variable(1.0), tf.Variable(2.0)
        >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
        >>> gradients = tf.function(problem.inner_steps)(2)
        >>> round(float(w), 6), int(gradients)
        (1.36, 2)
        """
        self.state, gradients = self.optimizer.steps(self, count, self.state)
        return gradients

    def gradients(self, loss: Callable[[], tf.Tensor]) -> tuple[tf.Tensor, Tensors, Tensors]:
        """A loss, and its direct gradients with respect to inner and outer variables.

        Args:
            loss: The inner or the outer loss, or another function of the variables that returns a scalar.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.inner_variables)
            tape.watch(self.outer_variables)
            value = loss()
        inner, outer = tape.gradient(
            value, [self.inner_variables, self.outer_variables], unconnected_gradients="zero"
        )
        return value, inner, outer

    def outer_gradients(self) -> tuple[tf.Tensor, Tensors, Tensors]:
        """The outer loss, and its direct gradients with respect to inner and outer variables."""
        return self.gradients(self.outer_loss)
