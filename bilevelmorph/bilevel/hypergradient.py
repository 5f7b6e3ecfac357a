"""The result of a hypergradient method."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

CONVERGED, NOT_FINITE, NOT_CONVERGED, NOT_CONVEX = range(4)
MEANINGS = (
    "converged",
    "not finite",
    "not converged",
    "negative curvature: the inner problem is not at a minimum",
)


class Hypergradient(NamedTuple):
    """Gradient of the outer loss with respect to the outer variables, with its convergence status.

    Attributes:
        gradients: One for each outer variable.
        outer_loss: Outer loss at the values at which it was differentiated.
        status: Scalar int32, an index of `MEANINGS`.
        residual: Relative residual of the linear solve; 0 for methods without one.
        cost: Number of gradient evaluations of the inner or outer loss (a product with
            second derivatives counts as two).

    >>> one = tf.constant(1.0)
    >>> Hypergradient([one], one, tf.constant(2), one, one).meaning
    'not converged'
    """

    gradients: list[tf.Tensor]
    outer_loss: tf.Tensor
    status: tf.Tensor
    residual: tf.Tensor
    cost: tf.Tensor

    @property
    def converged(self) -> bool:
        """Whether the hypergradient is usable (eager only)."""
        return int(self.status) == CONVERGED

    @property
    def meaning(self) -> str:
        """The status in words (eager only)."""
        return MEANINGS[int(self.status)]
