"""`bilevelmorph.ops.windows` against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import convolve

from bilevelmorph.ops import window_sum

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


def reference(x, width):
    """Sum over windows of ``[B, *S, C]``, zeros outside."""
    ndims = x.ndim - 2
    return convolve(x, np.ones((1, *[width] * ndims, 1)), mode="constant")


@pytest.mark.parametrize("width", [1, 3, 5, 9, 13])
@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_sums_of_scipy(rng, ndims, width):
    """Widths up to more than the image, too."""
    x = rng.normal(size=(2, *SIZES[ndims], 2))
    np.testing.assert_allclose(window_sum(tf.constant(x), width), reference(x, width), atol=1e-10)


def test_wide_window_holds_the_whole_image(rng):
    x = rng.normal(size=(1, 7, 6, 1))
    np.testing.assert_allclose(window_sum(tf.constant(x), 13), np.full(x.shape, x.sum()), rtol=1e-9)


def test_nothing_cancels_beside_large_values():
    """A window that holds no large value sums to the exact small one."""
    x = np.full((1, 20, 1), 1e-3, np.float32)
    x[0, 10] = 1e8
    out = window_sum(tf.constant(x), 3).numpy()[0, :, 0]
    np.testing.assert_allclose(out[12:19], 3e-3, rtol=1e-6)


def test_gradient_is_the_same_sum(rng):
    """The sum is its own transpose."""
    x, weight = rng.normal(size=(2, 2, 7, 6, 2))
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(window_sum(x, 3) * weight)
    np.testing.assert_allclose(tape.gradient(value, x), reference(weight, 3), atol=1e-10)


def test_sizes_unknown_when_traced(rng):
    spec = tf.TensorSpec([None, None, None, 2], tf.float64)
    traced = tf.function(lambda x: window_sum(x, 5), input_signature=[spec])
    for shape in [(7, 6), (3, 8)]:
        x = rng.normal(size=(2, *shape, 2))
        np.testing.assert_allclose(traced(x), reference(x, 5), atol=1e-10)
