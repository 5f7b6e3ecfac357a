"""Soft Dice of one-hot label maps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.losses.base import ImageLoss


@keras.saving.register_keras_serializable("bilevelmorph")
class SoftDice(ImageLoss):
    """One minus the mean Dice over the labels present in either map.

    Input: one-hot maps ``[B, *S, L]``; leave the background channel out to
    leave it out of the mean.

    >>> a = tf.one_hot([[[0, 1], [1, 1]]], 2)
    >>> float(SoftDice()(a, a))
    0.0
    """

    def __init__(self, name: str = "soft_dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        if mask is not None:
            fixed, moved = fixed * mask, moved * mask
        axes = list(range(1, fixed.shape.rank - 1))
        both = tf.reduce_sum(fixed * moved, axes)
        total = tf.reduce_sum(fixed, axes) + tf.reduce_sum(moved, axes)
        present = tf.cast(total > 0, total.dtype)
        dice = tf.math.divide_no_nan(2 * both, total)
        count = tf.reduce_sum(present)
        return tf.where(count > 0, 1 - tf.reduce_sum(dice) / tf.maximum(count, 1), 0.0)
