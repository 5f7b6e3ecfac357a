"""VoxelMorph's spatial transformer without its loop over the batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.voxelmorph.import_hook import require
from bilevelmorph.errors import fail, one_of
from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.warping import affine_displacement, warp

_Parent = require().layers.SpatialTransformer


@keras.saving.register_keras_serializable("bilevelmorph")
class SpatialTransformer(_Parent):  # type: ignore[misc, valid-type]
    """Warp an image with a dense displacement or an affine matrix.

    Results and gradients are those of `voxelmorph.layers.SpatialTransformer`;
    the whole batch is warped at once, and the spatial size may vary. Under a mixed
    precision policy, positions stay in float32 and the image is warped in the
    policy's compute dtype.

    Args:
        interp_method: ``"linear"`` or ``"nearest"``.
        indexing: ``"ij"``, or ``"xy"``, where the first two components are exchanged.
        single_transform: Whether to apply the first transform to the whole batch.
        fill_value: Value outside the image; None repeats its edge voxels.
        shift_center: Whether affine matrices act about the centre of the image.

    Input: ``[image, transform]``: ``[B, *S, C]`` and one of ``[B, *T, N]``
    (voxels), ``[B, *T, C, N]`` (a displacement for each channel) or
    ``[B, N, N + 1]`` (affine).

    Output: ``[B, *T, C]``.

    Reference: Balakrishnan et al., VoxelMorph, TMI 2019.

    >>> SpatialTransformer()([tf.ones([1, 4, 4, 1]), tf.zeros([1, 4, 4, 2])]).shape.as_list()
    [1, 4, 4, 1]
    """

    def __init__(
        self,
        interp_method: str = "linear",
        indexing: str = "ij",
        single_transform: bool = False,
        fill_value: float | None = None,
        shift_center: bool = True,
        **kwargs: Any,
    ) -> None:
        one_of("interp_method", interp_method, ("linear", "nearest"))
        one_of("indexing", indexing, ("ij", "xy"))
        kwargs.setdefault("autocast", False)
        super().__init__(
            interp_method=interp_method,
            indexing=indexing,
            single_transform=single_transform,
            fill_value=fill_value,
            shift_center=shift_center,
            **kwargs,
        )

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2:
            raise fail("SpatialTransformer", f"{len(input_shape)} inputs", "[image, transform]")
        image, transform = (tuple(s) for s in input_shape)
        self.ndims = len(image) - 2
        self.is_affine = len(transform) == 3 and transform[-2:] == (self.ndims, self.ndims + 1)
        self.is_channelwise = len(transform) == self.ndims + 3
        if not self.is_affine and transform[-1] != self.ndims:
            raise fail(
                "SpatialTransformer",
                f"transform of shape {transform} for an image of shape {image}",
                f"[B, *S, {self.ndims}] (displacement) or [B, {self.ndims}, {self.ndims + 1}] (affine)",
            )
        self.built = True

    def call(self, inputs: Any) -> tf.Tensor:
        image, transform = inputs
        if image.dtype.is_floating and image.dtype != tf.float64:
            image = tf.cast(image, self.compute_dtype)
        if not transform.dtype.is_floating or transform.dtype.size < 4:
            transform = tf.cast(transform, tf.float32)
        if self.single_transform:
            transform = transform[:1]
        if self.is_affine:
            transform = affine_displacement(transform, spatial_shape(image), self.shift_center, self.indexing)
        if self.indexing == "xy" and self.ndims > 1:
            transform = tf.concat([transform[..., 1::-1], transform[..., 2:]], -1)
        if self.is_channelwise:
            return self._warp_channels(image, transform)
        if self.single_transform:
            transform = tf.repeat(transform, tf.shape(image)[0], axis=0)
        return warp(image, transform, self.interp_method, self.fill_value)

    def _warp_channels(self, image: tf.Tensor, transform: tf.Tensor) -> tf.Tensor:
        channels = image.shape[-1]
        parts = []
        for c in range(channels):
            field = transform[..., c, :]
            if self.single_transform:
                field = tf.repeat(field, tf.shape(image)[0], axis=0)
            part = image[..., c : c + 1]
            parts.append(warp(part, field, self.interp_method, self.fill_value))
        return tf.concat(parts, -1)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        image, transform = (tuple(s) for s in input_shape)
        n = len(image) - 2
        if len(transform) == 3 and transform[-2:] == (n, n + 1):
            return image
        return (image[0], *transform[1 : 1 + n], image[-1])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        shape = self.compute_output_shape([x.shape for x in inputs])
        kind = inputs[0].dtype
        floating = kind in ("float16", "bfloat16", "float32")
        return keras.KerasTensor(shape, self.compute_dtype if floating else kind)
