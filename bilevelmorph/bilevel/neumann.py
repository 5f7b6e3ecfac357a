"""Hypergradients by the implicit function theorem, with a Neumann series for the inverse."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import CONVERGED, NOT_CONVERGED, Hypergradient
from bilevelmorph.bilevel.hypergradient_method import (
    HypergradientMethod,
    added,
    curvature_product,
    finished,
    mixed_product,
    norm,
)
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.errors import positive


class Neumann(HypergradientMethod):
    """``r = sum_k (I - P H)^k P grad``, with P the preconditioner of the inner optimiser.

    Assumes that the inner variables are at a minimum and that the inner
    optimiser would stay there. The series converges if ``I - P H`` is a
    contraction; its spectral radius is the factor by which the terms shrink.

    Args:
        terms: Number of terms, K.
        tolerance: Relative residual below which the result counts as converged.

    Reference: Lorraine, Vicol and Duvenaud, AISTATS 2020.

    >>> w, a = tf.Variable(2.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> round(float(Neumann(100)(problem).gradients[0]), 4)
    4.0
    """

    def __init__(self, terms: int = 20, tolerance: float = 0.1) -> None:
        self.terms = int(positive("terms", terms, whole=True))
        self.tolerance = positive("tolerance", tolerance)

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        loss, inner, direct = problem.outer_gradients()
        count = len(inner)

        # The remainder of the right-hand side shrinks as (I - H P)^k: it is the residual itself.
        def body(k: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            total, left = list(parts[:count]), list(parts[count:])
            step = problem.optimizer.precondition(left, problem.state)
            left = added(left, curvature_product(problem, step), -1.0)
            return (k + 1, *added(total, step), *left)

        start = (tf.constant(0), *[tf.zeros_like(x) for x in inner], *inner)
        out = tf.while_loop(lambda k, *_: k < self.terms, body, start, parallel_iterations=1)
        vectors, left = list(out[1 : 1 + count]), list(out[1 + count :])
        tiny = tf.cast(1e-30, loss.dtype)
        residual = norm(left) / tf.maximum(tf.cast(norm(inner), loss.dtype), tiny)
        status = tf.where(residual <= self.tolerance, CONVERGED, NOT_CONVERGED)
        gradients = added(direct, mixed_product(problem, vectors), -1.0)
        return finished(gradients, loss, 3 + 2 * self.terms, status, residual)
