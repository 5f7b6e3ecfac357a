"""The inverse of a Hessian, learned from steps and the changes of the gradient along them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class LearnedInverse(NamedTuple):
    """The matrix of limited-memory BFGS, positive definite, as a pure value.

    Pairs of a step and a change are scaled so that their product is 1, which leaves the matrix as it is. The
    newest takes the place of the oldest, so that nothing is moved. The products of every step with the
    changes not older than it make a triangular matrix, up to the order; its inverse is kept up to date, so
    that a product with the matrix has no loop: it is a few products of matrices and vectors.

    Attributes:
        count: Number of pairs learned.
        scale: What the matrix is, times the identity, without pairs.
        steps, changes: Scaled pairs, (memory, entries); zeros where there is none yet.
        triangle: Inverse of the triangular matrix, (memory, memory).

    Reference: Byrd, Nocedal and Schnabel, Mathematical Programming 1994.

    >>> learned = LearnedInverse.none(tf.constant([0.0, 0.0]), 5, 1.0)
    >>> for step, change in (([1.0, 0.0], [4.0, 0.0]), ([0.0, 1.0], [0.0, 10.0])):
    ...     learned = learned.after(tf.constant(step), tf.constant(change), True)
    >>> [round(float(x), 6) for x in learned.times(tf.constant([4.0, 10.0]))]
    [1.0, 1.0]
    """

    count: tf.Tensor
    scale: tf.Tensor
    steps: tf.Tensor
    changes: tf.Tensor
    triangle: tf.Tensor

    @classmethod
    def none(cls, like: tf.Tensor, memory: int, scale: Any) -> LearnedInverse:
        """Without pairs.

        Args:
            like: Vector of the size and type of those that are multiplied.
            memory: Number of pairs kept.
            scale: Of the identity.
        """
        pairs = tf.zeros([memory, *like.shape], like.dtype)
        triangle = tf.zeros([memory, memory], like.dtype)
        return cls(tf.constant(0), tf.cast(scale, like.dtype), pairs, pairs, triangle)

    def times(self, vector: tf.Tensor) -> tf.Tensor:
        """The product with a vector."""
        first = tf.linalg.matvec(self.triangle, tf.linalg.matvec(self.steps, vector))
        scaled = self.scale * (vector - tf.linalg.matvec(self.changes, first, transpose_a=True))
        second = first - tf.linalg.matvec(self.changes, scaled)
        second = tf.linalg.matvec(self.triangle, second, transpose_a=True)
        return scaled + tf.linalg.matvec(self.steps, second, transpose_a=True)

    def after(self, step: tf.Tensor, change: tf.Tensor, usable: Any) -> LearnedInverse:
        """The inverse after a pair is learned.

        Args:
            step: Step taken.
            change: Change of the gradient along it.
            usable: Whether to learn it. Where the curvature along the step is not positive, or drowned by
                rounding, it is not learned in any case.
        """
        along, bend, length = dot(step, change), dot(change, change), dot(step, step)
        good = usable & (along > 0) & (along * along > epsilon(along) * bend * length)
        safe = tf.where(good, along, tf.ones_like(along))
        factor = tf.math.rsqrt(safe)
        step, change = factor * step, factor * change
        memory = self.steps.shape[0]
        here = tf.range(memory) == tf.where(good, self.count % memory, -1)
        steps, changes = (
            tf.where(here[:, None], new, old) for new, old in ((step, self.steps), (change, self.changes))
        )
        place = tf.cast(here, step.dtype)
        others = tf.where(here[:, None] | here, tf.zeros_like(self.triangle), self.triangle)
        column = place - tf.linalg.matvec(others, tf.linalg.matvec(steps, change))
        triangle = tf.where(here, column[:, None], others)
        scale = tf.where(good, safe / tf.where(good, bend, tf.ones_like(bend)), self.scale)
        return LearnedInverse(self.count + tf.cast(good, tf.int32), scale, steps, changes, triangle)

    def unless(self, useless: tf.Tensor, scale: Any) -> LearnedInverse:
        """The same, or if it is useless the identity times a scale, without pairs."""
        # Without the triangle no pair counts, whatever the arrays hold.
        count, triangle = (tf.where(useless, tf.zeros_like(x), x) for x in (self.count, self.triangle))
        scale = tf.where(useless, tf.cast(scale, self.scale.dtype), self.scale)
        return self._replace(count=count, scale=scale, triangle=triangle)


def dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Inner product of two vectors.

    >>> float(dot(tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])))
    11.0
    """
    return tf.tensordot(a, b, 1)


def epsilon(like: tf.Tensor) -> float:
    """Relative rounding error of numbers of this type.

    >>> epsilon(tf.constant(1.0))
    1.1920928955078125e-07
    """
    return float(np.finfo(like.dtype.as_numpy_dtype).eps)
