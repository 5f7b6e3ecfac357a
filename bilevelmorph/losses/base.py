"""Base class of the image losses: float32 arithmetic, an optional mask, a scalar result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.ops.pair_objective import by_tape
from bilevelmorph.ops.xla import xla_jit


def masked_mean(values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Mean over all entries, weighted by a mask that is broadcast to their shape.

    Args:
        values: ``[B, *S, C]``.
        mask: None, or ``[B, *S, 1]``, non-negative.

    Returns:
        Scalar; 0 if the mask is empty.

    >>> float(masked_mean(tf.constant([[[1.0], [3.0]]]), tf.constant([[[1.0], [0.0]]])))
    1.0
    """
    if mask is None:
        return tf.reduce_mean(values)
    weight = tf.broadcast_to(tf.cast(mask, values.dtype), tf.shape(values))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weight), tf.reduce_sum(weight))


def full_precision(x: Any) -> tf.Tensor:
    """Cast a tensor to float32, but keep float64, so that half precision cannot overflow."""
    x = tf.convert_to_tensor(x)
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


class ImageLoss(keras.losses.Loss):
    """A Keras loss between two images whose sample weight is a spatial mask.

    Subclasses define ``compute(fixed, moved, mask)``. As a Keras loss, call it
    as ``loss(y_true, y_pred, sample_weight=mask)``, with a mask of
    ``[B, *S]`` or ``[B, *S, 1]``. For instance optimisation, `features` and `slope` may
    be overridden with something faster.

    >>> class Absolute(ImageLoss):
    ...     def compute(self, fixed, moved, mask):
    ...         return masked_mean(tf.abs(fixed - moved), mask)
    >>> fixed, moved = tf.zeros([1, 2, 1]), tf.constant([[[1.0], [5.0]]])
    >>> float(Absolute()(fixed, moved)), float(Absolute()(fixed, moved, tf.constant([[1.0, 0.0]])))
    (3.0, 1.0)
    """

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        kwargs.pop("fn", None)
        super().__init__(name=name, **kwargs)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        fixed, moved = full_precision(y_true), full_precision(y_pred)
        mask = None if sample_weight is None else tf.cast(sample_weight, moved.dtype)
        if mask is not None and mask.shape.rank == 1:
            mask = tf.reshape(mask, [-1] + [1] * (fixed.shape.rank - 1))
        if mask is not None and mask.shape.rank == fixed.shape.rank - 1:
            mask = mask[..., None]
        loss = self.compute(tf.cast(fixed, moved.dtype), moved, mask)
        # Keras adds up the gradients of all replicas, so each contributes its share.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return loss / replicas if replicas > 1 else loss

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        return self(y_true, y_pred)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        raise NotImplementedError

    def features(self, image: tf.Tensor) -> tf.Tensor:
        """What instance optimisation warps and compares: by default the image itself.

        Args:
            image: ``[B, *S, C]``.

        Returns:
            ``[B, *S, K]``.
        """
        return image

    def slope(
        self, fixed: tf.Tensor, mask: tf.Tensor | None
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """The loss and its derivative with respect to the moved image, by default from a gradient tape.

        Args:
            fixed: `features` of the fixed image, ``[B, *S, K]``.
            mask: None, or ``[B, *S, 1]``, non-negative.

        Returns:
            A function of the moved features, ``[B, *S, K]``, that returns the loss of each
            sample, ``[B]``, and its derivative, ``[B, *S, K]``.
        """
        ones = tf.ones_like(fixed[..., :1]) if mask is None else mask
        both = tf.concat([ones, fixed], -1)

        def loss(moved: tf.Tensor, beside: tf.Tensor) -> tf.Tensor:
            return self.compute(beside[..., 1:], moved, None if mask is None else beside[..., :1])

        return lambda moved: by_tape(loss, moved, both)


def squared_difference_slope(
    fixed: tf.Tensor, mask: tf.Tensor | None
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The mean squared difference and its derivative, in closed form; see `ImageLoss.slope`.

    >>> value, derivative = squared_difference_slope(tf.zeros([1, 2, 1]), None)(tf.ones([1, 2, 1]))
    >>> value.numpy().tolist(), derivative[0, :, 0].numpy().tolist()
    ([1.0], [1.0, 1.0])
    """
    axes = list(range(1, fixed.shape.rank))
    weight = tf.ones_like(fixed[..., :1]) if mask is None else mask
    total = tf.reduce_sum(weight, axes, keepdims=True) * tf.cast(tf.shape(fixed)[-1], fixed.dtype)
    weight = tf.math.divide_no_nan(weight, total)

    def slope(moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _weighted_square(moved, fixed, weight)

    return slope


@xla_jit
def _weighted_square(moved: tf.Tensor, fixed: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    apart = moved - fixed
    value = tf.reduce_sum(weight * tf.square(apart), list(range(1, apart.shape.rank)))
    return value, 2 * weight * apart
