"""Distance between moved voxels and their known positions."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.losses.base import ImageLoss, masked_mean


@keras.saving.register_keras_serializable("bilevelmorph")
class EndPointError(ImageLoss):
    """Mean Euclidean distance between two position maps, in the units of the maps.

    Meant for synthetic pairs: each image has a map of the anatomical positions of its
    voxels, and the warped moving map should equal the fixed one.

    >>> float(EndPointError()(tf.zeros([1, 4, 4, 2]), tf.constant([3.0, 4.0]) * tf.ones([1, 4, 4, 2])))
    5.0
    """

    def __init__(self, name: str = "end_point_error", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        squared = tf.reduce_sum(tf.square(fixed - moved), -1, keepdims=True)
        # The gradient of the square root is infinite at zero; 0.01 voxels are negligible.
        return masked_mean(tf.sqrt(tf.maximum(squared, 1e-4)), mask)
