"""A network as functions of raw arrays: intensities in, displacement out, nothing to prepare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops import xla
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.warping import warp
from bilevelmorph.volumes.preprocessing import PERCENTILES


def normalise(images: tf.Tensor, percentiles: Sequence[float] = PERCENTILES) -> tf.Tensor:
    """Clip each image to two of its percentiles and scale it to [0, 1]; as `volumes.preprocessing` does.

    Args:
        images: ``[B, *S, C]``.
        percentiles: Lower and upper.

    Returns:
        The same shape, float32.

    >>> normalise(tf.reshape(tf.range(5.0), [1, 5, 1, 1]), (0, 100))[0, :, 0, 0].numpy().tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    images = tf.cast(images, tf.float32)
    ranked = tf.sort(tf.reshape(images, [tf.shape(images)[0], -1]), -1)
    low, high = (_percentile(ranked, p) for p in percentiles)
    flat = high <= low
    low, high = tf.where(flat, ranked[:, 0], low), tf.where(flat, ranked[:, -1], high)
    shape = [-1] + [1] * (images.shape.rank - 1)
    low, high = tf.reshape(low, shape), tf.reshape(high, shape)
    return tf.clip_by_value((images - low) / tf.maximum(high - low, 1e-30), 0.0, 1.0)


def _percentile(ranked: tf.Tensor, percent: float) -> tf.Tensor:
    """Of sorted rows, linear between two ranks."""
    last = tf.cast(tf.shape(ranked)[1] - 1, tf.float32)
    place = last * (percent / 100)
    below = tf.cast(tf.floor(place), tf.int32)
    above = tf.minimum(below + 1, tf.cast(last, tf.int32))
    share = place - tf.floor(place)
    a, b = tf.gather(ranked, below, axis=1), tf.gather(ranked, above, axis=1)
    return a + share * (b - a)


class Serving:
    """The functions that are exported.

    Args:
        network: A registration network.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> serving = Serving(PropagationNetwork(2, matching=[8], regularization=[8]))
    >>> out = serving.register(tf.ones([1, 9, 8, 1]), tf.ones([1, 9, 8, 1]))
    >>> sorted(out), out["displacement"].shape.as_list()
    (['displacement', 'moved'], [1, 9, 8, 2])
    """

    def __init__(self, network: RegistrationNetwork) -> None:
        network.build()
        self.network = network
        self.percentiles = network.preprocessing.get("percentiles", PERCENTILES)

    def signatures(self, sizes: Sequence[int | None] | None = None) -> dict[str, Any]:
        """Name to function and input specification; any batch, and any size unless given.

        Args:
            sizes: ``[*S]``.
        """
        n, free = self.network.ndims, [None] * self.network.ndims
        shape = [None, *(free if sizes is None else sizes)]
        image = [*shape, self.network.channels]

        def spec(name: str, size: list[Any], dtype: Any = tf.float32) -> tf.TensorSpec:
            return tf.TensorSpec(size, dtype, name=name)

        pair = [spec("moving", image), spec("fixed", image)]
        resampling = [
            spec("image", [*shape, None]),
            spec("displacement", [*shape, n]),
            spec("nearest", [], tf.bool),
        ]
        return {
            "serving_default": (self.register, pair),
            "register": (self.register, pair),
            "warp": (self.warp, resampling),
        }

    def register(self, moving: tf.Tensor, fixed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Align batches of images.

        Args:
            moving, fixed: ``[B, *S, C]``, any intensities, one grid.

        Returns:
            ``moved`` ``[B, *S, C]``, `moving` on the grid of `fixed`, its own
            intensities; ``displacement`` ``[B, *S, N]`` voxels; both float32.
        """
        with xla.using("off"):
            source, target = (normalise(x, self.percentiles) for x in (moving, fixed))
            fields = self.network.fields(source, target, training=False)
            displacement = tf.cast(crop(fields.displacement, spatial_shape(fixed)), tf.float32)
            moved = warp(tf.cast(moving, tf.float32), displacement)
        return {"moved": moved, "displacement": displacement}

    @staticmethod
    def warp(image: tf.Tensor, displacement: tf.Tensor, nearest: tf.Tensor) -> dict[str, tf.Tensor]:
        """Resample a batch.

        Args:
            image: ``[B, *S, C]``.
            displacement: ``[B, *S, N]`` voxels.
            nearest: Bool; nearest neighbour for label maps, else linear.

        Returns:
            ``moved`` ``[B, *S, C]``.
        """
        with xla.using("off"):
            moved = tf.cond(
                nearest,
                lambda: warp(image, displacement, "nearest"),
                lambda: warp(image, displacement, "linear"),
            )
        return {"moved": moved}
