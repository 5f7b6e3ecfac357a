"""Normalised mutual information."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.losses.base import ImageLoss


@keras.saving.register_keras_serializable("bilevelmorph")
class NMI(ImageLoss):
    """Two minus the normalised mutual information ``(H(f) + H(m)) / H(f, m)``.

    The loss is 0 for images that determine each other and 1 for independent ones. Soft
    (linear) binning between each image's extremes makes it differentiable.

    Args:
        bins: Number of intensity bins per image.

    Reference: Studholme et al., Pattern Recognition 1999.

    >>> x = tf.random.stateless_uniform([1, 16, 16, 1], [0, 1])
    >>> float(NMI()(x, 1 - x)) < float(NMI()(x, tf.reverse(x, [1])))
    True
    """

    def __init__(self, bins: int = 32, name: str = "nmi", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.bins = int(positive("bins", bins, whole=True))

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        f, m = self._membership(fixed, mask), self._membership(moved, mask)
        if mask is not None:
            weight = tf.broadcast_to(tf.cast(mask, f.dtype), tf.shape(fixed))
            f = f * tf.reshape(weight, [tf.shape(f)[0], -1, 1])
        joint = tf.matmul(f, m, transpose_a=True)
        joint = tf.math.divide_no_nan(joint, tf.reduce_sum(joint, [1, 2], keepdims=True))
        h_joint = _entropy(joint, [1, 2])
        h_f, h_m = _entropy(tf.reduce_sum(joint, 2), [1]), _entropy(tf.reduce_sum(joint, 1), [1])
        # Two constant images determine each other: zero entropy, zero loss.
        nmi = tf.where(h_joint > 1e-6, (h_f + h_m) / tf.maximum(h_joint, 1e-6), 2.0)
        return tf.reduce_mean(2.0 - nmi)

    def _membership(self, image: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Bin memberships, ``[B, voxels, bins]``; rows sum to one."""
        flat = tf.reshape(image, [tf.shape(image)[0], -1, 1])
        inside = tf.ones_like(flat, tf.bool)
        if mask is not None:
            inside = tf.reshape(tf.broadcast_to(mask, tf.shape(image)) > 0, tf.shape(flat))
        low = tf.stop_gradient(tf.reduce_min(tf.where(inside, flat, flat.dtype.max), 1, keepdims=True))
        high = tf.stop_gradient(tf.reduce_max(tf.where(inside, flat, flat.dtype.min), 1, keepdims=True))
        place = tf.where(inside, (flat - low) / tf.maximum(high - low, 1e-6) * (self.bins - 1), 0)
        return tf.maximum(1 - tf.abs(place - tf.cast(tf.range(self.bins), place.dtype)), 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins}


def _entropy(p: tf.Tensor, axes: list[int]) -> tf.Tensor:
    return -tf.reduce_sum(p * tf.math.log(p + 1e-12), axes)
