"""`bilevelmorph.ops.windows` against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import convolve, gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.ops import gaussian_smooth, window_sum
from bilevelmorph.ops.windows import window_size

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


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_number_of_voxels_is_the_sum_of_ones(ndims):
    x = tf.ones((1, *SIZES[ndims], 1))
    np.testing.assert_array_equal(window_size(x, 5), window_sum(x, 5))


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, None), (1.2, None), (2.0, 3)])
@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_smoothing_of_scipy(rng, ndims, sigma, radius):
    x = rng.normal(size=(2, *SIZES[ndims], 2))
    reach = int(np.ceil(3 * sigma)) if radius is None else radius
    axes = tuple(range(1, ndims + 1))
    expected = gaussian_filter(x, sigma, axes=axes, mode="nearest", radius=reach)
    np.testing.assert_allclose(gaussian_smooth(tf.constant(x), sigma, radius), expected, atol=1e-12)


def test_smoothing_by_nothing_changes_nothing(rng):
    x = tf.constant(rng.normal(size=(1, 7, 6, 1)))
    np.testing.assert_array_equal(gaussian_smooth(x, 0), x)
    np.testing.assert_allclose(gaussian_smooth(x, tf.constant(0.0), 3), x, atol=1e-12)


def test_derivative_with_respect_to_the_deviation(rng):
    x, sigma = tf.constant(rng.normal(size=(1, 7, 6, 1))), tf.Variable(1.1, dtype=tf.float64)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(gaussian_smooth(x, sigma, 4) ** 3)
    step = 1e-5
    ends = [tf.reduce_sum(gaussian_smooth(x, 1.1 + s, 4) ** 3) for s in (-step, step)]
    np.testing.assert_allclose(tape.gradient(value, sigma), (ends[1] - ends[0]) / (2 * step), rtol=1e-6)


def test_sizes_that_a_graph_does_not_know(rng):
    x = tf.constant(rng.normal(size=(2, 7, 6, 2)))
    free = tf.TensorSpec([None, None, None, 2], tf.float64)
    with using_xla("off"):
        smooth = tf.function(lambda t: gaussian_smooth(t, 1.0), input_signature=[free])
        add = tf.function(lambda t: window_sum(t, 3), input_signature=[free])
        np.testing.assert_allclose(smooth(x), gaussian_smooth(x, 1.0))
        np.testing.assert_allclose(add(x), window_sum(x, 3))
