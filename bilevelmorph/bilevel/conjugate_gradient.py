"""Hypergradients by the implicit function theorem, with conjugate gradients for the linear solve."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import CONVERGED, NOT_CONVERGED, NOT_CONVEX, Hypergradient
from bilevelmorph.bilevel.hypergradient_method import (
    HypergradientMethod,
    added,
    curvature_product,
    finished,
    inner_product,
    mixed_product,
)
from bilevelmorph.bilevel.problem import BilevelProblem
from bilevelmorph.errors import positive


class ConjugateGradient(HypergradientMethod):
    """Solves ``(H + damping I) r = grad`` by conjugate gradients.

    Assumes that the inner variables are at a minimum; does not use the inner
    optimiser. Stops at a direction of negative curvature and reports it.

    Args:
        iterations: Largest number of iterations.
        damping: Multiple of the identity added to the Hessian.
        tolerance: Relative residual at which the iteration stops.

    Reference: Pedregosa, ICML 2016.

    >>> w, a = tf.Variable(2.0), tf.Variable(2.0)
    >>> problem = BilevelProblem([w], [a], lambda: (w - a) ** 2, lambda: w**2)
    >>> float(ConjugateGradient()(problem).gradients[0])
    4.0
    """

    def __init__(self, iterations: int = 20, damping: float = 0.0, tolerance: float = 1e-6) -> None:
        self.iterations = int(positive("iterations", iterations, whole=True))
        self.damping = positive("damping", damping, zero=True)
        self.tolerance = positive("tolerance", tolerance)

    def __call__(self, problem: BilevelProblem) -> Hypergradient:
        loss, inner, direct = problem.outer_gradients()
        count, target = len(inner), inner_product(inner, inner)
        goal = tf.cast(self.tolerance, target.dtype) ** 2 * target

        def go_on(k: tf.Tensor, convex: tf.Tensor, size: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return (k < self.iterations) & convex & (size > goal)

        def body(k: tf.Tensor, _: tf.Tensor, size: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            x, left, towards = (list(parts[i * count : (i + 1) * count]) for i in range(3))
            image = added(curvature_product(problem, towards), towards, self.damping)
            bend = inner_product(towards, image)
            convex = bend > 0
            step = tf.where(convex, size / tf.where(convex, bend, tf.ones_like(bend)), tf.zeros_like(bend))
            x, left = added(x, towards, step), added(left, image, -step)
            new = inner_product(left, left)
            ratio = new / tf.maximum(size, tf.cast(1e-300 if size.dtype == tf.float64 else 1e-30, size.dtype))
            return (k + 1, convex, new, *x, *left, *added(left, towards, ratio))

        start = (
            tf.constant(0),
            tf.constant(True),
            target,
            *[tf.zeros_like(v) for v in inner],
            *inner,
            *inner,
        )
        k, convex, size, *parts = tf.while_loop(go_on, body, start, parallel_iterations=1)
        residual = tf.sqrt(size / tf.maximum(target, tf.cast(1e-30, target.dtype)))
        solved = tf.where(size <= goal, CONVERGED, NOT_CONVERGED)
        status = tf.where(convex, solved, NOT_CONVEX)
        gradients = added(direct, mixed_product(problem, list(parts[:count])), -1.0)
        return finished(gradients, loss, 3 + 2 * k, status, residual)
