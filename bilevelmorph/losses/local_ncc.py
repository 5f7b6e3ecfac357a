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
    fixed: tf.Tensor,
    moved: tf.Tensor,
    width: Any = 9,
    mask: tf.Tensor | None = None,
    eps: float = 1e-4,
    radius: int | None = None,
) -> tf.Tensor:
    """Mean squared local correlation, whose gradient is the closed form of `correlation_and_derivatives`.

    Args:
        fixed, moved: ``[B, *S, C]``, values of order one.
        width, mask, eps, radius: See `correlation_with`.

    Returns:
        ``[B]``, in [0, 1].

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> round(float(mean_correlation(x, -x, 3)[0]), 3)
    1.0
    """

    @tf.custom_gradient
    def correlation(fixed: tf.Tensor, moved: tf.Tensor) -> Any:
        value, by_fixed, by_moved = correlation_and_derivatives(fixed, moved, width, mask, eps, radius)

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
        width: Window width in voxels, at least 1; between odd numbers, the outermost voxels count in part.
            A scalar tensor is possible, by which the derivatives can be differentiated.
        eps: Variance below which a window counts as flat.
        radius: Largest number of voxels on each side of the window, needed if `width` is a tensor.

    Reference: Avants et al., MedIA 2008; Balakrishnan et al., TMI 2019.

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> round(float(LocalNCC(3)(x, 3 * x)), 3)
    0.0
    """

    def __init__(
        self,
        width: Any = 9,
        eps: float = 1e-4,
        radius: int | None = None,
        name: str = "local_ncc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.width, self.radius = width, radius
        if not tf.is_tensor(width) and positive("width", width) < 1:
            raise fail("width", width, "at least 1 voxel")
        self.eps = positive("eps", eps)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        share = 1.0 if mask is None else _shares(mask)
        return 1 - tf.reduce_mean(
            share * mean_correlation(fixed, moved, self.width, mask, self.eps, self.radius)
        )

    def slope(
        self, fixed: tf.Tensor, mask: tf.Tensor | None
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        correlation = correlation_with(fixed, self.width, mask, self.eps, self.radius)

        def slope(moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value, derivative = correlation(moved)
            return 1 - value, -derivative

        return slope

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "eps": self.eps, "radius": self.radius}
