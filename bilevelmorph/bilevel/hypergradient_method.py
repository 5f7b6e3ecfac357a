"""The base class of hypergradient methods and the products that they share.

Every method computes ``direct - (d2 inner / d outer d inner) r``. They differ in
the vector `r`, an estimate of the inverse Hessian of the inner loss times the
gradient of the outer loss with respect to the inner variables.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import keras
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

    def ready(self, problem: BilevelProblem) -> None:
        """Create the state kept between calls, unless it is there."""
        if not self.variables:
            with tf.init_scope():
                self.build(problem.inner_variables)

    @abstractmethod
    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        """Compute the hypergradient at the present values.

        Args:
            problem: Evaluated at the present values of its variables and optimiser state.

        Returns:
            A `Hypergradient`; a status other than 0 means that it must not be used.
        """


def remembered_zeros(variables: Sequence[tf.Variable]) -> list[Any]:
    """State of a method between calls: a zero for every entry of these variables."""
    return [keras.Variable("zeros", shape=v.shape, dtype=v.dtype.name, trainable=False) for v in variables]


def remember(variables: Sequence[Any], values: Tensors) -> None:
    """Assign the state for the next call, unless any of it is not finite: one bad batch must not spoil it."""
    good = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in values])
    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.where(good, value, variable))


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


def pulled_back(
    function: Callable[[], Tensors], sources: Sequence[Any], vectors: Tensors
) -> tuple[Tensors, Tensors]:
    """The results of a function, and the product of its transposed Jacobian with vectors.

    Args:
        function: Function of the sources, which it reads.
        sources: Tensors or variables.
        vectors: One for each result.

    Returns:
        The results, and one product for each source.

    >>> x = tf.constant(3.0)
    >>> results, back = pulled_back(lambda: [x**2], [x], [tf.constant(10.0)])
    >>> float(results[0]), float(back[0])
    (9.0, 60.0)
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        results = function()
    return results, tape.gradient(results, sources, vectors, unconnected_gradients="zero")


def pushed_forward(
    function: Callable[[], Tensors], sources: Sequence[Any], directions: Sequence[Tensors]
) -> tuple[Tensors, list[Tensors]]:
    """The results of a function, and the product of its Jacobian with each direction.

    A product with a Jacobian is the derivative of a product with its transpose, in which
    that is linear. TensorFlow's own forward mode traces a function for every
    operation, which takes minutes.

    Args:
        function, sources: See `pulled_back`.
        directions: Each has one tensor for each source.

    Returns:
        The results, and for each direction, one product for each result.

    >>> x = tf.constant(3.0)
    >>> results, moved = pushed_forward(lambda: [x**2, 2 * x], [x], [[tf.constant(10.0)]])
    >>> [float(m) for m in moved[0]]
    [60.0, 20.0]
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(sources)
            results = [tf.identity(x) for x in function()]
        weights = [tf.zeros_like(x) for x in results]
        outer.watch(weights)
        # The inner tape is used under the outer one, which records the product.
        back = inner.gradient(results, sources, weights, unconnected_gradients="zero")
    moved = [outer.gradient(back, weights, way, unconnected_gradients="zero") for way in directions]
    return results, moved


def unit_directions(variables: Sequence[tf.Variable]) -> list[Tensors]:
    """For every entry of the variables, the direction along which only it changes."""
    directions = []
    for number, variable in enumerate(variables):
        size = math.prod(variable.shape)
        for entry in range(size):
            one = tf.reshape(tf.one_hot(entry, size, dtype=variable.dtype), variable.shape)
            directions.append([one if k == number else tf.zeros_like(v) for k, v in enumerate(variables)])
    return directions


def along_directions(by_values: Tensors, direct: Tensors, tangents: Sequence[Tensors]) -> Tensors:
    """The total gradients of the outer loss.

    Args:
        by_values: Its gradients with respect to the inner values.
        direct: Its direct gradients with respect to the outer variables.
        tangents: The derivatives of the inner values along each of `unit_directions`.
    """
    indirect = iter([inner_product(by_values, along) for along in tangents])
    total = []
    for gradient in direct:
        entries = [next(indirect) for _ in range(math.prod(gradient.shape))]
        total.append(gradient + tf.reshape(tf.stack(entries), gradient.shape))
    return total


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
