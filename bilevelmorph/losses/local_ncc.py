"""Local normalised cross-correlation."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, positive
from bilevelmorph.losses.base import ImageLoss, masked_mean
from bilevelmorph.ops.windows import window_sum
from bilevelmorph.ops.xla import xla_jit


@xla_jit
def correlation_map(fixed: tf.Tensor, moved: tf.Tensor, width: int = 9, eps: float = 1e-4) -> tf.Tensor:
    """Squared correlation of two images in a window around each voxel.

    Args:
        fixed, moved: ``[B, *S, C]``, values of order one.
        width: Odd window width in voxels.
        eps: Variance below which a window counts as flat.

    Returns:
        ``[B, *S, C]`` in [0, 1]; 0 in flat windows.

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> bool(tf.reduce_min(correlation_map(x, 2 * x + 1, 3)) > 0.9)
    True
    """
    c = fixed.shape[-1]
    # Subtracting the global mean reduces cancellation in the variances.
    axes = list(range(1, fixed.shape.rank))
    fixed = fixed - tf.stop_gradient(tf.reduce_mean(fixed, axes, keepdims=True))
    moved = moved - tf.stop_gradient(tf.reduce_mean(moved, axes, keepdims=True))
    products = [fixed, moved, fixed * fixed, moved * moved, fixed * moved]
    sums = window_sum(tf.concat(products, -1), width)
    count = window_sum(tf.ones_like(fixed[:1, ..., :1]), width)
    f, m, ff, mm, fm = (sums[..., i * c : (i + 1) * c] / count for i in range(5))
    variance_f = tf.maximum(ff - f * f, 0)
    variance_m = tf.maximum(mm - m * m, 0)
    cross = fm - f * m
    return cross * cross / (variance_f * variance_m + eps * eps)


@keras.saving.register_keras_serializable("bilevelmorph")
class LocalNCC(ImageLoss):
    """One minus the mean squared local correlation: 0 for a perfect match, 1 for none.

    Args:
        width: Odd window width in voxels.
        eps: Variance below which a window counts as flat.

    Reference: Avants et al., MedIA 2008; Balakrishnan et al., TMI 2019.

    >>> x = tf.random.stateless_normal([1, 9, 9, 1], [0, 1])
    >>> round(float(LocalNCC(3)(x, 3 * x)), 3)
    0.0
    """

    def __init__(self, width: int = 9, eps: float = 1e-4, name: str = "local_ncc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.width = int(positive("width", width, whole=True))
        if self.width % 2 == 0:
            raise fail("width", width, "an odd number of voxels")
        self.eps = positive("eps", eps)

    def compute(self, fixed: tf.Tensor, moved: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        return 1 - masked_mean(correlation_map(fixed, moved, self.width, self.eps), mask)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "eps": self.eps}
