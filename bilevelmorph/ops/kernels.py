"""Embedding of kernels in larger ones, so that a mixture of operations costs one convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def dilate(kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """The dense kernel of a dilated convolution.

    Args:
        kernel: ``[*K, Cin, Cout]``, every K odd.
        dilation: Distance between taps.

    Returns:
        ``[*(dilation * (K - 1) + 1), Cin, Cout]``, zero between the taps.

    >>> dilate(tf.ones([3, 1, 1]), 2)[:, 0, 0].numpy().tolist()
    [1.0, 0.0, 1.0, 0.0, 1.0]
    """
    ndims = len(kernel.shape) - 2
    for axis in range(ndims):
        kernel = tf.expand_dims(kernel, axis + 1)
        gap = [[0, 0]] * (ndims + 3)
        gap[axis + 1] = [0, dilation - 1]
        kernel = tf.pad(kernel, gap)
        shape = kernel.shape.as_list()
        kernel = tf.reshape(kernel, [*shape[:axis], shape[axis] * dilation, *shape[axis + 2 :]])
        keep = [slice(None)] * (ndims + 2)
        keep[axis] = slice(0, shape[axis] * dilation - (dilation - 1))
        kernel = kernel[tuple(keep)]
    return kernel


def compose_separable(factors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The dense kernel of successive convolutions along one axis each.

    Args:
        factors: ``[K, Cin, C]``, ``[K, C, C]``, ..., one per axis.

    Returns:
        ``[K, K, ..., Cin, Cout]``.

    >>> float(compose_separable([tf.ones([3, 1, 1]), tf.fill([3, 1, 1], 2.0)])[0, 0, 0, 0])
    2.0
    """
    kernel = factors[0]
    for factor in factors[1:]:
        kernel = tf.einsum("...io,koc->...kic", kernel, factor)
    return kernel


def embed(kernel: tf.Tensor, extent: int) -> tf.Tensor:
    """Pad a kernel with zeros to an odd extent along every axis.

    >>> embed(tf.ones([1, 1, 1]), 3)[:, 0, 0].numpy().tolist()
    [0.0, 1.0, 0.0]
    """
    sides = [(extent - k) // 2 for k in kernel.shape[:-2]]
    return tf.pad(kernel, [*([s, s] for s in sides), [0, 0], [0, 0]])


def identity_kernel(ndims: int, inputs: int, outputs: int) -> np.ndarray:
    """The kernel that copies channels; extra outputs are zero, extra inputs are dropped.

    >>> identity_kernel(1, 2, 2)[0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.eye(inputs, outputs, dtype=np.float32).reshape(*[1] * ndims, inputs, outputs)
