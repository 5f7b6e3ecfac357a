"""The convolution used by all blocks, in 2-D and 3-D."""

from __future__ import annotations

from typing import Any

import keras

from bilevelmorph.errors import spatial_rank

SLOPE = 0.2


def convolution(
    ndims: int,
    filters: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    active: bool = True,
    initializer: Any = "he_normal",
    name: str | None = None,
    dtype: Any = None,
) -> keras.layers.Layer:
    """A padded Keras convolution of the given rank, followed by leaky ReLU (slope 0.2) by default.

    >>> convolution(2, 8, name="c").name
    'c'
    """
    make = getattr(keras.layers, f"Conv{spatial_rank('ndims', ndims)}D")
    return make(
        filters,
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        activation=keras.layers.LeakyReLU(SLOPE, dtype=dtype) if active else None,
        kernel_initializer=initializer,
        name=name,
        dtype=dtype,
    )


def small_normal(stddev: float = 1e-5) -> keras.initializers.Initializer:
    """An initialiser with values so small that a network starts close to the identity."""
    return keras.initializers.RandomNormal(stddev=stddev)
