"""A network as functions of unprepared arrays: intensities in, displacement out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.data.preprocessing import PERCENTILES
from bilevelmorph.devices import using_xla
from bilevelmorph.errors import one_of
from bilevelmorph.layers.descent import Descent
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.percentiles import percentiles
from bilevelmorph.ops.warping import warp

PRECISIONS = ("float32", "float16")


def normalise(images: tf.Tensor, percents: Sequence[float] = PERCENTILES) -> tf.Tensor:
    """Clip each image to two of its percentiles and scale it to [0, 1], as `data.preprocessing` does.

    Args:
        images: ``[B, *S, C]``.
        percents: Lower and upper percentile.

    Returns:
        float32 of the same shape.

    >>> normalise(tf.reshape(tf.range(5.0), [1, 5, 1, 1]), (0, 100))[0, :, 0, 0].numpy().tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    images = tf.cast(images, tf.float32)
    rows = tf.reshape(images, [tf.shape(images)[0], -1])
    low, high = tf.unstack(percentiles(rows, percents), 2, 1)
    flat = high <= low
    low = tf.where(flat, tf.reduce_min(rows, 1), low)
    high = tf.where(flat, tf.reduce_max(rows, 1), high)
    shape = [-1] + [1] * (images.shape.rank - 1)
    low, high = tf.reshape(low, shape), tf.reshape(high, shape)
    return tf.clip_by_value((images - low) / tf.maximum(high - low, 1e-30), 0.0, 1.0)


def _stored(value: tf.Tensor, precision: str) -> tf.Tensor:
    return tf.cast(value, precision) if value.dtype.is_floating else value


class Serving:
    """The functions of an exported model.

    They use copies of the network's weights, which may be stored in lower precision;
    all computation is in float32.

    Args:
        network: A registration network.
        precision: Precision of the stored weights, ``"float32"`` or ``"float16"``.
        settings: Settings of the instance optimisation that follows the network; none by default.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> serving = Serving(PropagationNetwork(2, matching=[8], regularization=[8]))
    >>> out = serving.register(tf.ones([1, 9, 8, 1]), tf.ones([1, 9, 8, 1]))
    >>> sorted(out), out["displacement"].shape.as_list()
    (['displacement', 'moved'], [1, 9, 8, 2])
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        precision: str = "float32",
        settings: DescentConfig | None = None,
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        network.build()
        self.network = network
        self.weights = [
            tf.Variable(_stored(tf.convert_to_tensor(v), precision), trainable=False)
            for v in network.variables
        ]
        self.descent = None if settings is None else Descent(settings)
        self.percentiles = network.preprocessing.get("percentiles", PERCENTILES)

    def signatures(self, sizes: Sequence[int | None] | None = None) -> dict[str, Any]:
        """Function and input specification of each signature by name, for any batch size.

        Args:
            sizes: Image size ``[*S]``; any by default.
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
            "register": (self.register, pair),
            "warp": (self.warp, resampling),
        }

    def register(self, moving: tf.Tensor, fixed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Align batches of images.

        Args:
            moving, fixed: ``[B, *S, C]``, of any intensities, on the same grid.

        Returns:
            ``moved``, ``[B, *S, C]``: `moving` on the grid of `fixed`, with its original
            intensities; ``displacement``, ``[B, *S, N]`` voxels; both float32.
        """
        with using_xla("off"):
            source, target = (normalise(x, self.percentiles) for x in (moving, fixed))
            with keras.StatelessScope(state_mapping=self._values()):
                deformation = self.network.deform(source, target, training=False)
            displacement = tf.cast(crop(deformation.displacement, spatial_shape(fixed)), tf.float32)
            if self.descent is not None:
                displacement = self.descent([target, source, displacement])
            moved = warp(tf.cast(moving, tf.float32), displacement)
        return {"moved": moved, "displacement": displacement}

    def _values(self) -> list[tuple[Any, tf.Tensor]]:
        """Every variable of the network with its stored value."""
        pairs = zip(self.network.variables, self.weights, strict=True)
        return [(variable, tf.cast(weight, variable.dtype)) for variable, weight in pairs]

    @staticmethod
    def warp(image: tf.Tensor, displacement: tf.Tensor, nearest: tf.Tensor) -> dict[str, tf.Tensor]:
        """Warp a batch of images.

        Args:
            image: ``[B, *S, C]``.
            displacement: ``[B, *S, N]`` voxels.
            nearest: Bool; true for nearest-neighbour interpolation (label maps), else linear.

        Returns:
            ``moved``, ``[B, *S, C]``.
        """
        with using_xla("off"):
            moved = tf.cond(
                nearest,
                lambda: warp(image, displacement, "nearest"),
                lambda: warp(image, displacement, "linear"),
            )
        return {"moved": moved}
