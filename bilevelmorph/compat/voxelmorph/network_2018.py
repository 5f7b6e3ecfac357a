"""VoxelMorph's 2018 networks, for existing weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, one_of
from bilevelmorph.layers.convolution import convolution
from bilevelmorph.networks.vxm_dense import VxmDense
from bilevelmorph.ops.resizing import double

CVPR = ((16, 32, 32, 32), (32, 32, 32, 32, 32, 16, 16))


@keras.saving.register_keras_serializable("bilevelmorph")
class Vxm2018(VxmDense):
    """The U-Net of VoxelMorph's 2018 papers, with strided convolutions.

    At full resolution it concatenates the images with the features once more. Use it for
    weights of that time (`network_of_h5` builds it from a file), and `VxmDense` for training.

    Args:
        inshape: As in `VxmDense`.
        nb_unet_features: Filters: four of the encoder; five of the decoder at half
            resolution and below, then those at the final resolution.
        half: Whether the velocity is at half (MICCAI 2018) or full resolution (CVPR 2018).
        int_steps: Number of squarings; 0 predicts a displacement.
        scaled: Whether the velocity is divided by ``2**int_steps`` before the squarings, as
            `VecInt` does; the MICCAI 2018 network predicts the divided velocity.
        indexing: ``"ij"``, or ``"xy"``, where the first two components are exchanged.
        **kwargs: As in `VxmDense`.

    Reference: Balakrishnan et al., CVPR 2018; Dalca et al., MICCAI 2018.

    >>> network = Vxm2018(2, [[4, 4, 4, 4], [4, 4, 4, 4, 4, 4]])
    >>> network([tf.ones([1, 20, 17, 1]), tf.ones([1, 20, 17, 1])])["displacement"].shape.as_list()
    [1, 20, 17, 2]
    """

    LEVELS = 4
    align = "first"

    def __init__(
        self,
        inshape: int | Sequence[int | None] = 3,
        nb_unet_features: Sequence[Sequence[int]] = CVPR,
        half: bool = False,
        int_steps: int = 0,
        scaled: bool = True,
        indexing: str = "ij",
        name: str = "vxm_2018",
        **kwargs: Any,
    ) -> None:
        self.half, self.scaled = half, scaled
        self.indexing = one_of("indexing", indexing, ("ij", "xy"))
        encoder, decoder = nb_unet_features
        least = self.LEVELS + (1 if half else 2)
        if len(encoder) != self.LEVELS or len(decoder) < least:
            raise fail("nb_unet_features", nb_unet_features, f"{self.LEVELS} filters, and {least} or more")
        kwargs = {**kwargs, "int_resolution": 2 if half else 1, "svf_resolution": 2 if half else 1}
        super().__init__(inshape, nb_unet_features, int_steps, name=name, **kwargs)

    def _make_unet(self) -> None:
        name, levels = f"{self.name}_plain_conv", self.LEVELS
        filters = [*self.encoder_widths, *self.decoder_widths]
        blocks = [
            convolution(self.ndims, f, stride=2 if i < levels else 1, name=f"{name}_{i}")
            for i, f in enumerate(filters)
        ]
        self.encoder, self.decoder, self.final = (
            blocks[:levels],
            blocks[levels : 2 * levels],
            blocks[2 * levels :],
        )

    def _build_unet(self, space: tuple[Any, ...]) -> int:
        first = channels = self.channels + self.trg_feats
        skips = [*self.encoder_widths[:-1]]
        for block in self.encoder:
            block.build((*space, channels))
            channels = block.filters
        for i, block in enumerate((*self.decoder, *self.final)):
            if 0 < i < self.LEVELS:
                channels += skips.pop()
            elif i == self.LEVELS + 1 and not self.half:
                channels += first
            block.build((*space, channels))
            channels = block.filters
        return channels

    def _unet(self, x: tf.Tensor) -> tf.Tensor:
        levels = [x]
        for block in self.encoder:
            levels.append(block(levels[-1]))
        x = levels.pop()
        for i, block in enumerate((*self.decoder, *self.final)):
            if 0 < i < self.LEVELS or (i == self.LEVELS + 1 and not self.half):
                x = tf.concat([double(x), levels.pop()], -1)
            x = block(x)
        return x

    def in_voxels(self, velocity: tf.Tensor) -> tf.Tensor:
        if self.indexing == "xy":
            velocity = tf.gather(velocity, [1, 0, *range(2, self.ndims)], axis=-1)
        return velocity if self.scaled else velocity * 2.0**self.int_steps

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("int_resolution", "svf_resolution"):
            del config[key]
        return {**config, "half": self.half, "scaled": self.scaled, "indexing": self.indexing}
