"""Normalised mutual information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.losses.base import ImageLoss

# Number of voxels from which instance optimisation estimates a joint histogram.
SAMPLES = 300_000


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
        weight = self._weight(fixed, mask)
        joint = self._joint(self._place(fixed, mask), self._place(moved, mask), weight)
        return tf.reduce_mean(_loss(joint))

    def slope(
        self, fixed: tf.Tensor, mask: tf.Tensor | None
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """See `ImageLoss.slope`; the joint histogram of large images is that of evenly spaced voxels."""
        of_fixed, weight = self._place(fixed, mask), self._weight(fixed, mask)
        total = tf.reduce_sum(weight, 1, keepdims=True)

        def slope(moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            low, high = self._range(moved, mask)
            of_moved = self._place(moved, mask)
            every = max(1, (of_fixed.shape[1] or 1) // SAMPLES)
            # Voxels at a distance that shares no factor with usual sizes cover the whole image.
            part = slice(None, None, every + 1 - every % 2 if every > 1 else 1)
            joint = self._joint(of_fixed[:, part], of_moved[:, part], weight[:, part])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(joint)
                loss = _loss(joint)
            table = tape.gradient(loss, joint)
            # A voxel moves its weight from one bin of the moved image to the next.
            step = tf.concat([table[:, :, 1:] - table[:, :, :-1], tf.zeros_like(table[:, :, :1])], 2)
            change = self._look_up(step, of_fixed, of_moved)
            scale = weight * (self.bins - 1) / (tf.maximum(high - low, 1e-6)[..., 0] * total)
            return loss, tf.reshape(change * scale, tf.shape(moved))

        return slope

    def _look_up(self, table: tf.Tensor, fixed: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Values of tables ``[B, bins, bins]``, linear along the first axis and constant along the second."""
        low = tf.minimum(tf.floor(fixed), self.bins - 2)
        column = tf.cast(tf.minimum(tf.floor(moved), self.bins - 2), tf.int32)
        flat = tf.reshape(table, [tf.shape(table)[0], -1])
        at = tf.cast(low, tf.int32) * self.bins + column
        below, above = (tf.gather(flat, at + k * self.bins, axis=1, batch_dims=1) for k in (0, 1))
        return below + (fixed - low) * (above - below)

    def _weight(self, image: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Weights of the voxels, ``[B, voxels]``."""
        rows = [tf.shape(image)[0], -1]
        if mask is None:
            return tf.ones_like(tf.reshape(image, rows))
        return tf.reshape(tf.broadcast_to(tf.cast(mask, image.dtype), tf.shape(image)), rows)

    def _range(self, image: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Lowest and highest value of each image, ``[B, 1, 1]``."""
        flat = tf.reshape(image, [tf.shape(image)[0], -1, 1])
        low = high = flat
        if mask is not None:
            inside = self._weight(image, mask)[..., None] > 0
            low, high = tf.where(inside, flat, flat.dtype.max), tf.where(inside, flat, flat.dtype.min)
        ends = tf.reduce_min(low, 1, keepdims=True), tf.reduce_max(high, 1, keepdims=True)
        return tf.stop_gradient(ends[0]), tf.stop_gradient(ends[1])

    def _place(self, image: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Position of every voxel among the bins, ``[B, voxels]``; 0 outside the mask."""
        low, high = self._range(image, mask)
        flat = tf.reshape(image, [tf.shape(image)[0], -1])
        place = (flat - low[..., 0]) / tf.maximum(high - low, 1e-6)[..., 0] * (self.bins - 1)
        return place if mask is None else tf.where(self._weight(image, mask) > 0, place, 0)

    def _joint(self, fixed: tf.Tensor, moved: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Joint histogram ``[B, bins, bins]``, of sum one, from positions among the bins."""
        members = self._members(fixed) * weight[..., None]
        joint = tf.matmul(members, self._members(moved), transpose_a=True)
        return tf.math.divide_no_nan(joint, tf.reduce_sum(joint, [1, 2], keepdims=True))

    def _members(self, place: tf.Tensor) -> tf.Tensor:
        """Bin memberships, ``[B, voxels, bins]``; rows sum to one."""
        return tf.maximum(1 - tf.abs(place[..., None] - tf.cast(tf.range(self.bins), place.dtype)), 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins}


def _loss(joint: tf.Tensor) -> tf.Tensor:
    """Two minus the normalised mutual information of each joint histogram, ``[B]``."""
    h_joint = _entropy(joint, [1, 2])
    h_f, h_m = _entropy(tf.reduce_sum(joint, 2), [1]), _entropy(tf.reduce_sum(joint, 1), [1])
    # Two constant images determine each other: zero entropy, zero loss.
    return 2.0 - tf.where(h_joint > 1e-6, (h_f + h_m) / tf.maximum(h_joint, 1e-6), 2.0)


def _entropy(p: tf.Tensor, axes: list[int]) -> tf.Tensor:
    return -tf.reduce_sum(p * tf.math.log(p + 1e-12), axes)
