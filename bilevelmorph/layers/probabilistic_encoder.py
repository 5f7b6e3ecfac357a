"""Probabilistic features at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail
from bilevelmorph.layers.convolution import convolution, small_normal
from bilevelmorph.layers.feature_encoder import FeatureEncoder


@keras.saving.register_keras_serializable("bilevelmorph")
class ProbabilisticEncoder(FeatureEncoder):
    """A `FeatureEncoder` with Gaussian features: the output is their mean and log variance.

    The means are the output of a `FeatureEncoder` with the same weights; a 1x1
    convolution at each of `scales` adds the log variances.

    Args:
        ndims, widths, descriptor: See `FeatureEncoder`.
        scales: Downsampling factors (powers of two) with Gaussian features; None
            for all below full resolution.
        log_variance: Initial log variance.

    Input: ``[B, *S, C]``. Output: list of ``[B, *S / 2**k, 2 * widths[k][-1]]``,
    k = 0, 1, ..., means before log variances; scales not in `scales` are as in `FeatureEncoder`.

    Reference: Liu et al., IJCAI 2020.

    >>> out = ProbabilisticEncoder(2, [[], [4], [8]])(tf.ones([1, 8, 8, 1]))
    >>> [f.shape.as_list() for f in out]
    [[1, 8, 8, 1], [1, 4, 4, 8], [1, 2, 2, 16]]
    """

    def __init__(
        self,
        ndims: int,
        widths: Sequence[Sequence[int]],
        descriptor: str | None = None,
        scales: Sequence[int] | None = None,
        log_variance: float = -4.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(ndims, widths, descriptor, **kwargs)
        everywhere = [2**k for k in range(len(self.widths))]
        self.scales = sorted(everywhere[1:] if scales is None else scales)
        for scale in self.scales:
            if scale not in everywhere or not self.widths[everywhere.index(scale)]:
                given = [s for s, w in zip(everywhere, self.widths, strict=True) if w]
                raise fail("scales", list(self.scales), f"some of {given}, which have filters")
        self.log_variance = log_variance
        self.spreads = {}
        for scale in self.scales:
            head = convolution(
                ndims,
                self.widths[scale.bit_length() - 1][-1],
                1,
                active=False,
                initializer=small_normal(),
                name=f"log_variance_{scale}",
                dtype=self.dtype_policy,
            )
            head.bias_initializer = keras.initializers.Constant(log_variance)
            self.spreads[str(scale)] = head

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        for k, shape in enumerate(super().compute_output_shape(input_shape)):
            if 2**k in self.scales:
                self.spreads[str(2**k)].build(shape)

    def call(self, image: tf.Tensor) -> list[tf.Tensor]:
        levels = super().call(image)
        for scale in self.scales:
            mean = levels[scale.bit_length() - 1]
            levels[scale.bit_length() - 1] = tf.concat([mean, self.spreads[str(scale)](mean)], -1)
        return levels

    def compute_output_shape(self, input_shape: Any) -> list[tuple[Any, ...]]:
        shapes = super().compute_output_shape(input_shape)
        return [(*s[:-1], s[-1] * (1 + (2**k in self.scales))) for k, s in enumerate(shapes)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scales": self.scales, "log_variance": self.log_variance}
