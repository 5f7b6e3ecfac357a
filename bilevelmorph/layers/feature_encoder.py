"""Deterministic features at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, one_of
from bilevelmorph.layers.convolution import convolution
from bilevelmorph.ops.descriptors import mind
from bilevelmorph.ops.grid import as_field
from bilevelmorph.ops.resizing import average_pool


@keras.saving.register_keras_serializable("bilevelmorph")
class FeatureEncoder(keras.layers.Layer):
    """A pyramid of convolutions, shared by the moving and the fixed image.

    Each scale below full resolution begins with a strided convolution of kernel size
    4, whose output voxels lie at the centres of the input voxels they cover.

    Args:
        ndims: 2 or 3.
        widths: For each scale from full resolution downward, the filters of
            its convolutions; an empty list skips full resolution.
        descriptor: None, or ``"mind"``: the convolutions begin at half
            resolution, with the averaged image and its contrast-independent MIND
            descriptors as input.

    Input: ``[B, *S, C]``, sizes divisible by ``2**(len(widths) - 1)``.
    Output: list of ``[B, *S / 2**k, widths[k][-1]]``, k = 0, 1, ...; for an
    empty ``widths[0]`` the first entry is the input itself.

    Reference: Liu et al., TPAMI 2021.

    >>> [f.shape.as_list() for f in FeatureEncoder(2, [[], [4], [8]])(tf.ones([1, 8, 8, 1]))]
    [[1, 8, 8, 1], [1, 4, 4, 4], [1, 2, 2, 8]]
    """

    def __init__(
        self, ndims: int, widths: Sequence[Sequence[int]], descriptor: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.widths = ndims, [list(w) for w in widths]
        self.descriptor = one_of("descriptor", descriptor, (None, "mind"))
        if descriptor and (len(self.widths) < 2 or self.widths[0]):
            raise fail("widths", widths, "none at full resolution and some below, with a descriptor")
        if any(not w for w in self.widths[1:]):
            raise fail("widths", widths, "at least one convolution at every scale but the first")
        self.convolutions = []
        for scale, filters in enumerate(self.widths):
            for i, f in enumerate(filters):
                down = i == 0 and scale > (1 if descriptor else 0)
                block = convolution(
                    ndims,
                    f,
                    4 if down else 3,
                    stride=2 if down else 1,
                    name=f"scale{scale}_conv{i}",
                    dtype=self.dtype_policy,
                )
                self.convolutions.append(block)

    def build(self, input_shape: Any) -> None:
        shape = self._first_shape(tuple(input_shape))
        for block in self.convolutions:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.built = True

    def _first_shape(self, image: tuple[Any, ...]) -> tuple[Any, ...]:
        """Shape of the input of the first convolution."""
        if not self.descriptor:
            return image
        pairs = 2 * self.ndims * (self.ndims - 1)
        space = [None if n is None else n // 2 for n in image[1:-1]]
        return (image[0], *space, image[-1] * (1 + pairs))

    def _describe(self, image: tf.Tensor) -> tf.Tensor:
        half = average_pool(image)
        exact = as_field(half)
        parts = [mind(exact[..., c : c + 1]) for c in range(image.shape[-1])]
        return tf.concat([half, *(tf.cast(p, half.dtype) for p in parts)], -1)

    def call(self, image: tf.Tensor) -> list[tf.Tensor]:
        x, features, blocks = image, [], iter(self.convolutions)
        for scale, filters in enumerate(self.widths):
            if scale == 1 and self.descriptor:
                x = self._describe(image)
            for _ in filters:
                x = next(blocks)(x)
            features.append(x)
        return features

    def compute_output_shape(self, input_shape: Any) -> list[tuple[Any, ...]]:
        shape, shapes, blocks = tuple(input_shape), [], iter(self.convolutions)
        for scale, filters in enumerate(self.widths):
            if scale == 1:
                shape = self._first_shape(shape)
            for _ in filters:
                shape = next(blocks).compute_output_shape(shape)
            shapes.append(shape)
        return shapes

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ndims": self.ndims,
            "widths": self.widths,
            "descriptor": self.descriptor,
        }
