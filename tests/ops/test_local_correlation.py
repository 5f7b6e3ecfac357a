"""The closed form of local correlation against the loss and a gradient tape."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.losses.local_ncc import mean_correlation
from bilevelmorph.ops import correlation_with, window_sum


def images(rng, shape=(2, 12, 11, 2)):
    smooth = [0, *[1] * (len(shape) - 2), 0]
    return [tf.constant(gaussian_filter(rng.random(shape), smooth)) for _ in range(2)]


def correlation_map(fixed, moved, width, eps=1e-4):
    """Squared correlation in every window, as it is defined."""
    count = window_sum(tf.ones_like(fixed[:1, ..., :1]), width)
    f, m, ff, mm, fm = (
        window_sum(x, width) / count for x in (fixed, moved, fixed**2, moved**2, fixed * moved)
    )
    return (fm - f * m) ** 2 / ((ff - f * f) * (mm - m * m) + eps * eps)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(2, 12, 11, 2), (1, 7, 8, 6, 1)])
def test_value_and_derivative_of_a_tape(rng, shape, masked):
    fixed, moved = images(rng, shape)
    mask = tf.constant(rng.random((*shape[:-1], 1))) if masked else None
    weight = np.ones((*shape[:-1], 1)) if mask is None else mask
    axes = list(range(1, len(shape)))
    with tf.GradientTape() as tape:
        tape.watch(moved)
        values = correlation_map(fixed, moved, 5)
        weighted = tf.reduce_sum(values * weight, axes) / (np.sum(weight, tuple(axes)) * shape[-1])
        total = tf.reduce_sum(weighted)
    value, derivative = correlation_with(fixed, 5, mask)(moved)
    np.testing.assert_allclose(value, weighted, rtol=1e-9)
    np.testing.assert_allclose(derivative, tape.gradient(total, moved), atol=1e-13)


def test_contrast_and_sign_do_not_matter(rng):
    fixed, moved = images(rng)
    correlation = correlation_with(fixed, 5, eps=1e-9)
    value, derivative = correlation(moved)
    for other in (2 * moved + 5, -moved):
        again, slope = correlation(other)
        np.testing.assert_allclose(again, value, rtol=1e-6)
        factor = (other[0, 0, 1, 0] - other[0, 0, 0, 0]) / (moved[0, 0, 1, 0] - moved[0, 0, 0, 0])
        np.testing.assert_allclose(slope * factor, derivative, atol=1e-9)


def test_compiled_as_plain(rng):
    fixed, moved = (tf.cast(x, tf.float32) for x in images(rng))
    plain = {}
    for mode in ("off", "islands"):
        with using_xla(mode):
            plain[mode] = correlation_with(fixed, 3)(moved)
    for a, b in zip(*plain.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_flat_images_have_no_slope():
    value, derivative = correlation_with(tf.ones([1, 9, 9, 1]), 5)(tf.fill([1, 9, 9, 1], 3.0))
    assert float(value[0]) == 0
    assert float(tf.reduce_max(tf.abs(derivative))) == 0


def test_gradients_of_gradients(rng):
    """Hypergradients differentiate the loss twice."""
    images_ = images(rng)
    directions = [tf.constant(rng.normal(size=images_[0].shape)) for _ in range(2)]

    def plain(fixed, moved):
        return tf.reduce_mean(correlation_map(fixed, moved, 3), [1, 2, 3])

    def twice(function):
        with tf.GradientTape() as outer:
            outer.watch(images_)
            with tf.GradientTape() as inner:
                inner.watch(images_)
                value = tf.reduce_sum(function(*images_))
            first = inner.gradient(value, images_)
            along = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(first, directions, strict=True)])
        return [*first, *outer.gradient(along, images_)]

    def closed(fixed, moved):
        return mean_correlation(fixed, moved, 3)

    expected = twice(plain)
    for found in (twice(closed), tf.function(twice, autograph=False)(closed)):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)
