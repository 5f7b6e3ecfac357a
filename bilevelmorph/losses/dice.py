"""Soft Dice of one-hot label maps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.losses.base import ImageLoss


@keras.saving.register_keras_serializable("bilevelmorph")
class SoftDice(ImageLoss):
    """One minus the mean Dice over the labels present in either map.

    Args:
        squares: Whether to use sums of squares in the denominator. Without them, any shift
            by a fraction of a voxel is penalised, because linear interpolation makes labels
            fractional; this biases the criterion towards small displacements.
        name: Name of the loss.

    Input: one-hot maps ``[B, *S, L]``; omit the background channel to exclude
    it from the mean.

    >>> a = tf.one_hot([[[0, 1], [1, 1]]], 2)
    >>> float(SoftDice()(a, a))
    0.0
    """

    def __init__(self, squares: bool = False, name: str = "soft_dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.squares = bool(squares)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        if mask is not None:
            fixed, moved = fixed * mask, moved * mask
        axes = list(range(1, fixed.shape.rank - 1))
        both = tf.reduce_sum(fixed * moved, axes)
        sizes = [tf.square(x) if self.squares else x for x in (fixed, moved)]
        total = tf.add_n([tf.reduce_sum(x, axes) for x in sizes])
        present = tf.cast(total > 0, total.dtype)
        dice = tf.math.divide_no_nan(2 * both, total)
        count = tf.reduce_sum(present)
        return tf.where(count > 0, 1 - tf.reduce_sum(dice) / tf.maximum(count, 1), 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "squares": self.squares}
