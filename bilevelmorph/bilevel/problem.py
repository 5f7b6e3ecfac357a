"""Two nested minimisations over TensorFlow variables."""

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
    """Minimise ``upper_loss`` over the upper variables, the lower ones minimising ``lower_loss``.

    The losses read the variables; they may be random or look at a batch, as
    long as two calls at the same values give the same number.

    Args:
        lower_variables: Weights, say; the last values that training gave them.
        upper_variables: What is tuned.
        lower_loss, upper_loss: No arguments, a scalar.
        inner: The optimiser that moves the lower variables.
        state: Of that optimiser, at present; its initial state by default.

    Raises:
        InputError: A variable on both levels, or none on one.

    Tuning the penalty of a ridge regression on held-out data:

    >>> from bilevelmorph.bilevel import ConjugateGradient
    >>> x, y = tf.constant([[1.0, 0.2], [0.9, -0.3], [-1.0, 0.1]]), tf.constant([[1.2], [0.7], [-0.9]])
    >>> held_x, held_y = tf.constant([[0.5, 0.5], [-0.7, 0.4]]), tf.constant([[0.5], [-0.7]])
    >>> w, log_penalty = tf.Variable(tf.zeros([2, 1])), tf.Variable(0.0)
    >>> def lower():
    ...     ridge = tf.exp(log_penalty) * tf.reduce_sum(w**2)
    ...     return tf.reduce_sum((x @ w - y) ** 2) + ridge
    >>> def upper():
    ...     return tf.reduce_sum((held_x @ w - held_y) ** 2)
    >>> problem = BilevelProblem([w], [log_penalty], lower, upper, GradientDescent(0.1))
    >>> def solve_lower():
    ...     for _ in range(100):
    ...         problem.lower_step()
    >>> solve_lower()
    >>> before = float(upper())
    >>> for _ in range(20):
    ...     hypergradient = ConjugateGradient()(problem)
    ...     _ = log_penalty.assign_sub(2.0 * hypergradient.gradients[0])
    ...     solve_lower()
    >>> float(upper()) < 0.5 * before, hypergradient.converged
    (True, True)
    """

    lower_variables: Sequence[tf.Variable]
    upper_variables: Sequence[tf.Variable]
    lower_loss: Callable[[], tf.Tensor]
    upper_loss: Callable[[], tf.Tensor]
    inner: InnerOptimizer = field(default_factory=lambda: GradientDescent(0.1))
    state: Tensors = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("lower_variables", "upper_variables"):
            if not getattr(self, name):
                raise fail(name, "none", "at least one variable")
        shared = {id(v) for v in self.lower_variables} & {id(v) for v in self.upper_variables}
        if shared:
            raise fail("variables", f"{len(shared)} on both levels", "each on one level")
        if not self.state:
            self.state = self.inner.initial_state(self.values())

    def values(self) -> Tensors:
        """The lower variables' values."""
        return [tf.convert_to_tensor(v) for v in self.lower_variables]

    def assign(self, values: Tensors) -> None:
        """Give the lower variables values."""
        for variable, value in zip(self.lower_variables, values, strict=True):
            variable.assign(value)

    def lower_gradient(self) -> Tensors:
        """Gradient of the lower loss with respect to the lower variables."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.lower_variables)
            loss = self.lower_loss()
        return tape.gradient(loss, self.lower_variables, unconnected_gradients="zero")

    def lower_step(self) -> None:
        """Move the lower variables by one step of the inner optimiser."""
        values, self.state = self.inner.update(self.values(), self.lower_gradient(), self.state)
        self.assign(values)

    def upper_gradients(self) -> tuple[tf.Tensor, Tensors, Tensors]:
        """The upper loss, its gradients by the lower variables, and directly by the upper ones."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.lower_variables)
            tape.watch(self.upper_variables)
            loss = self.upper_loss()
        lower, upper = tape.gradient(
            loss, [self.lower_variables, self.upper_variables], unconnected_gradients="zero"
        )
        return loss, lower, upper
