"""What outer variables are worth: the outer loss where the inner problem is solved, outside every clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from benchmarks.bilevel.ours import on_tensors
from benchmarks.bilevel.problems import Problem
from bilevelmorph.bilevel import ConjugateGradient
from bilevelmorph.bilevel.hypergradient_method import curvature_product


class Judge:
    """Solves the inner problem to rounding, by Newton's method with conjugate gradients.

    Args:
        problem: The problem.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.bilevel, self.w, self.outer = on_tensors(problem)
        self._step = tf.function(self._newton, jit_compile=True, autograph=False)
        self._inner = tf.function(self.bilevel.inner_loss, jit_compile=True)
        self._loss = tf.function(self.bilevel.outer_loss, jit_compile=True)
        exact = ConjugateGradient(1000, tolerance=1e-9)
        self._exact = tf.function(lambda: exact(self.bilevel).gradients[0], jit_compile=True)

    def _newton(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The norm of the inner gradient, and the Newton step."""
        gradient = self.bilevel.inner_gradient()[0]
        goal = 1e-20 * tf.reduce_sum(gradient**2)

        def body(k: Any, x: Any, left: Any, towards: Any, size: Any) -> tuple[Any, ...]:
            image = curvature_product(self.bilevel, [towards])[0]
            length = size / tf.reduce_sum(towards * image)
            left -= length * image
            new = tf.reduce_sum(left**2)
            return k + 1, x + length * towards, left, left + new / size * towards, new

        start = (0, tf.zeros_like(gradient), gradient, gradient, tf.reduce_sum(gradient**2))
        found = tf.while_loop(lambda k, x, left, towards, size: (k < 1000) & (size > goal), body, start)
        return tf.norm(gradient), found[1]

    def loss(self, outer: np.ndarray) -> float:
        """The outer loss at the solution of the inner problem, infinite where variables are not finite."""
        if not np.isfinite(outer).all() or np.abs(outer).max() > 1e6:
            return float("inf")
        self.outer.assign(outer)
        for _ in range(50):
            size, step = self._step()
            if size < 1e-10:
                break
            before, at, length = float(self._inner()), self.w.numpy(), 1.0
            self.w.assign(at - step)
            while size > 1e-6 and float(self._inner()) > before and length > 1e-3:
                length /= 2
                self.w.assign(at - length * step)
        return float(self._loss())

    def hypergradient(self) -> np.ndarray:
        """Of the variables that were judged last."""
        return self._exact().numpy()

    def reference(self, evaluations: int) -> float:
        """The lowest outer loss that L-BFGS along exact hypergradients finds."""
        start = self.problem.outer_start

        def slope(x: np.ndarray) -> tuple[float, np.ndarray]:
            return self.loss(x.reshape(start.shape)), self.hypergradient().ravel()

        options = {"maxfun": evaluations, "maxiter": evaluations, "ftol": 1e-12}
        return float(minimize(slope, start.ravel(), jac=True, method="L-BFGS-B", options=options).fun)

    def accuracy(self) -> float:
        """Share of the test samples whose class the solution judged last finds."""
        scores: Any = self.problem.data["test_x"] @ self.w.numpy()
        return float((scores.argmax(1) == self.problem.data["test_y"].argmax(1)).mean())
