"""Mean squared difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.losses.base import ImageLoss, masked_mean, squared_difference_slope


@keras.saving.register_keras_serializable("bilevelmorph")
class MSE(ImageLoss):
    """Mean squared difference divided by ``image_sigma**2``.

    Args:
        image_sigma: Standard deviation of the image noise (VoxelMorph's parameter).

    >>> float(MSE()(tf.zeros([1, 4, 4, 1]), tf.fill([1, 4, 4, 1], 2.0)))
    4.0
    """

    def __init__(self, image_sigma: float = 1.0, name: str = "mse", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.image_sigma = positive("image_sigma", image_sigma)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        return masked_mean(tf.square(fixed - moved), mask) / self.image_sigma**2

    def slope(
        self, fixed: tf.Tensor, mask: tf.Tensor | None
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        of_difference, scale = squared_difference_slope(fixed, mask), 1 / self.image_sigma**2

        def slope(moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value, derivative = of_difference(moved)
            return scale * value, scale * derivative

        return slope

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_sigma": self.image_sigma}
