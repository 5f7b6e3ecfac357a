"""Differentiable random samples."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def reparametrised(mean: tf.Tensor, log_variance: tf.Tensor, seed: Any) -> tf.Tensor:
    """A Gaussian sample, written as the mean plus scaled noise.

    Args:
        mean, log_variance: Tensors of the same shape.
        seed: A `keras.random.SeedGenerator`, or a number.

    Returns:
        The shape and dtype of `mean`.

    Reference: Kingma and Welling, ICLR 2014.

    >>> reparametrised(tf.ones([2, 3]), tf.fill([2, 3], -60.0), 0).numpy().round(6).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    noise = keras.random.normal(tf.shape(mean), dtype=mean.dtype, seed=seed)
    return mean + tf.exp(log_variance / 2) * noise
