"""Local normalised cross-correlation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, positive
from bilevelmorph.losses.base import ImageLoss
from bilevelmorph.ops.local_correlation import correlation_and_derivatives, correlation_with


def mean_correlation(
    fixed: tf.Tensor, moved: tf.Tensor, width: int = 9, mask: tf.Tensor | None = None, eps: float = 1e-4
) -> tf.Tensor:
    """Mean squared local correlation, whose gradient is the closed form of `correlation_and_derivatives`.

    Args:
        fixed, moved: ``[B, *S, C]``, values of order one.
        width, mask, eps: See `correlation_with`.

    Returns:
        ``[B]``, in [0, 1].

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> round(float(mean_correlation(x, -x, 3)[0]), 3)
    1.0
    """

    @tf.custom_gradient
    def correlation(fixed: tf.Tensor, moved: tf.Tensor) -> Any:
        value, by_fixed, by_moved = correlation_and_derivatives(fixed, moved, width, mask, eps)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scale = tf.reshape(upstream, [-1] + [1] * (fixed.shape.rank - 1))
            return scale * by_fixed, scale * by_moved

        return value, gradient

    return correlation(fixed, moved)


def _shares(mask: tf.Tensor) -> tf.Tensor:
    """Total weight of each sample relative to the mean over the batch, ``[B]``."""
    total = tf.reduce_sum(mask, list(range(1, mask.shape.rank)))
    return tf.math.divide_no_nan(total, tf.reduce_mean(total))


@keras.saving.register_keras_serializable("bilevelmorph")
class LocalNCC(ImageLoss):
    """One minus the mean squared local correlation: 0 for a perfect match, 1 for none.

    Args:
        width: Odd window width in voxels.
        eps: Variance below which a window counts as flat.

    Reference: Avants et al., MedIA 2008; Balakrishnan et al., TMI 2019.

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> round(float(LocalNCC(3)(x, 3 * x)), 3)
    0.0
    """

    def __init__(self, width: int = 9, eps: float = 1e-4, name: str = "local_ncc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.width = int(positive("width", width, whole=True))
        if self.width % 2 == 0:
            raise fail("width", width, "an odd number of voxels")
        self.eps = positive("eps", eps)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        share = 1.0 if mask is None else _shares(mask)
        return 1 - tf.reduce_mean(share * mean_correlation(fixed, moved, self.width, mask, self.eps))

    def slope(
        self, fixed: tf.Tensor, mask: tf.Tensor | None
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        correlation = correlation_with(fixed, self.width, mask, self.eps)

        def slope(moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value, derivative = correlation(moved)
            return 1 - value, -derivative

        return slope

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "eps": self.eps}
