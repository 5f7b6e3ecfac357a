"""Base class of the image losses: float32 arithmetic, an optional mask, a scalar result."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


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
    ``[B, *S]`` or ``[B, *S, 1]``.

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
