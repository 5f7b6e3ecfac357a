"""Bilevel problems whose hypergradients are known in closed form, in float64."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import BilevelProblem, InnerOptimizer


class Ridge:
    """Ridge regression: weights below, the logarithm of the penalty of each feature above.

    inner: ``|X w - y|^2 / 2 + sum_i exp(p_i) w_i^2 / 2``; outer: ``|A w - b|^2 / 2``.
    """

    def __init__(self, seed: int = 0, features: int = 4) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.y = rng.normal(size=(12, features)), rng.normal(size=(12, 1))
        self.a, self.b = rng.normal(size=(7, features)), rng.normal(size=(7, 1))
        self.penalty = rng.normal(size=features)

    @property
    def curvature(self) -> np.ndarray:
        """Hessian of the inner loss."""
        return self.x.T @ self.x + np.diag(np.exp(self.penalty))

    @property
    def optimum(self) -> np.ndarray:
        """Of the inner problem."""
        return np.linalg.solve(self.curvature, self.x.T @ self.y)

    def inner_gradient(self, w: np.ndarray) -> np.ndarray:
        return self.curvature @ w - self.x.T @ self.y

    def outer_gradient(self, w: np.ndarray) -> np.ndarray:
        return self.a.T @ (self.a @ w - self.b)

    def indirect(self, w: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Minus the mixed second derivatives at `w`, times a vector: the penalties' gradient."""
        return -(np.exp(self.penalty)[:, None] * w * vector)[:, 0]

    def hypergradient(self) -> np.ndarray:
        """At the optimum of the inner problem."""
        w = self.optimum
        return self.indirect(w, np.linalg.solve(self.curvature, self.outer_gradient(w)))

    def problem(self, optimizer: InnerOptimizer, at: np.ndarray | None = None) -> BilevelProblem:
        """The same for TensorFlow, the weights at the optimum by default."""
        x, y, a, b = (tf.constant(v) for v in (self.x, self.y, self.a, self.b))
        w = tf.Variable(self.optimum if at is None else at)
        penalty = tf.Variable(self.penalty)

        def inner_loss() -> tf.Tensor:
            ridge = tf.reduce_sum(tf.exp(penalty)[:, None] * w**2)
            return (tf.reduce_sum((x @ w - y) ** 2) + ridge) / 2

        def outer_loss() -> tf.Tensor:
            return tf.reduce_sum((a @ w - b) ** 2) / 2

        return BilevelProblem([w], [penalty], inner_loss, outer_loss, optimizer)


def curved(optimizer: InnerOptimizer) -> BilevelProblem:
    """Losses with third derivatives, several variables of several shapes, a direct term."""
    w = [tf.Variable(np.array([[0.3, -0.2], [0.5, 0.1]])), tf.Variable(np.float64(0.4))]
    a = [tf.Variable(np.array([0.2, -0.3])), tf.Variable(np.float64(0.7))]

    def inner_loss() -> tf.Tensor:
        bend = tf.reduce_sum(tf.cosh(w[0]) * tf.exp(a[0])) + tf.exp(w[1] * a[1])
        return bend + tf.reduce_sum(w[0] ** 4) + w[1] ** 2 * tf.reduce_sum(w[0]) * a[1]

    def outer_loss() -> tf.Tensor:
        return tf.reduce_sum(tf.sin(w[0] + 0.5)) * w[1] + tf.reduce_sum(a[0] ** 2) * w[1] + a[1] * w[1]

    return BilevelProblem(w, a, inner_loss, outer_loss, optimizer)


def differences(problem: BilevelProblem, function, size: float = 1e-5) -> list[np.ndarray]:
    """Central differences of a scalar function by every outer variable."""
    out = []
    for variable in problem.outer_variables:
        before = variable.numpy()
        slope = np.zeros_like(before)
        for at in np.ndindex(before.shape):
            ends = []
            for sign in (1, -1):
                moved = np.array(before)
                moved[at] += sign * size
                variable.assign(moved)
                ends.append(function())
            slope[at] = (ends[0] - ends[1]) / (2 * size)
        variable.assign(before)
        out.append(slope)
    return out


def close(result, expected, tolerance=1e-8):
    assert result.converged, result.meaning
    for a, b in zip(result.gradients, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def in_graph(strategy, problem):
    """Thousands of terms, quicker than eagerly."""
    return tf.function(lambda: strategy(problem))()


def fastest(ridge):
    """The rate of gradient descent that forgets the start soonest."""
    curvatures = np.linalg.eigvalsh(ridge.curvature)
    return 2 / (curvatures.min() + curvatures.max())
