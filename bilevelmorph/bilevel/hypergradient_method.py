"""The base class of hypergradient methods and the products that they share.

Every method computes ``direct - (d2 inner / d outer d inner) r``. They differ in
the vector `r`, an estimate of the inverse Hessian of the inner loss times the
gradient of the outer loss with respect to the inner variables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import CONVERGED, NOT_FINITE, Hypergradient
from bilevelmorph.bilevel.problem import BilevelProblem

Tensors = list[tf.Tensor]


class HypergradientMethod(ABC):
    """A method to differentiate the outer loss through the inner problem.

    A call leaves the variables of the problem unchanged. A method that averages
    over calls keeps its state in `variables`.

    >>> from bilevelmorph.bilevel import ConjugateGradient, FirstOrder
    >>> w, a = tf.Variable(3.0), tf.Variable(3.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> [round(float(s(problem).gradients[0]), 4) for s in (FirstOrder(), ConjugateGradient())]
    [0.0, 6.0]
    """

    variables: Sequence[Any] = ()

    def build(self, variables: Sequence[tf.Variable]) -> None:  # noqa: B027  (most have no state)
        """Create the state kept between calls, for these inner variables."""

    @abstractmethod
    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        """Compute the hypergradient at the present values.

        Args:
            problem: Evaluated at the present values of its variables and optimiser state.

        Returns:
            A `Hypergradient`; a status other than 0 means that it must not be used.
        """


def mixed_product(problem: BilevelProblem, vectors: Tensors) -> Tensors:
    """``(d2 inner / d outer d inner) vectors`` by nested tapes, for each outer variable."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(problem.outer_variables)
        along = inner_product(problem.inner_gradient(), vectors)
    return tape.gradient(along, problem.outer_variables, unconnected_gradients="zero")


def curvature_product(problem: BilevelProblem, vectors: Tensors) -> Tensors:
    """``(d2 inner / d inner2) vectors`` by nested tapes."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(problem.inner_variables)
        along = inner_product(problem.inner_gradient(), vectors)
    return tape.gradient(along, problem.inner_variables, unconnected_gradients="zero")


def inner_product(a: Tensors, b: Tensors) -> tf.Tensor:
    """Sum of products over all entries of all tensors."""
    return tf.add_n([tf.reduce_sum(x * y) for x, y in zip(a, b, strict=True)])


def norm(vectors: Tensors) -> tf.Tensor:
    """Joint Euclidean norm."""
    return tf.sqrt(inner_product(vectors, vectors))


def added(a: Tensors, b: Tensors, factor: Any = 1.0) -> Tensors:
    """``a + factor * b``."""
    return [x + tf.cast(factor, x.dtype) * y for x, y in zip(a, b, strict=True)]


def finished(
    gradients: Tensors, loss: tf.Tensor, cost: Any, status: Any = CONVERGED, residual: Any = 0.0
) -> Hypergradient:
    """Make a `Hypergradient`, with status `NOT_FINITE` if any value is not finite."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in [*gradients, loss]])
    status = tf.where(finite, tf.cast(status, tf.int32), NOT_FINITE)
    return Hypergradient(gradients, loss, status, tf.cast(residual, loss.dtype), tf.cast(cost, tf.int32))
