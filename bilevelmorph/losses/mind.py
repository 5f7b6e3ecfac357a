"""Difference between self-similarity descriptors, for images of different contrast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.losses.base import ImageLoss, masked_mean, squared_difference_slope
from bilevelmorph.ops.descriptors import mind


@keras.saving.register_keras_serializable("bilevelmorph")
class MIND(ImageLoss):
    """Mean squared difference between the MIND descriptors of one-channel images.

    Instance optimisation computes the descriptors of the moving image once and warps them.

    Args:
        width: Odd patch width in voxels.
        distance: Distance from a voxel to its neighbours, in voxels.

    Reference: Heinrich et al., MICCAI 2013.

    >>> x = tf.random.stateless_normal([1, 8, 8, 1], [0, 1])
    >>> float(MIND()(x, -x)) < 1e-6
    True
    """

    def __init__(self, width: int = 3, distance: int = 1, name: str = "mind", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.width = int(positive("width", width, whole=True))
        self.distance = int(positive("distance", distance, whole=True))

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        f, m = (mind(x, self.width, self.distance) for x in (fixed, moved))
        return masked_mean(tf.square(f - m), mask)

    def features(self, image: tf.Tensor) -> tf.Tensor:
        return mind(image, self.width, self.distance)

    def slope(
        self, fixed: tf.Tensor, mask: tf.Tensor | None
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        return squared_difference_slope(fixed, mask)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "distance": self.distance}
