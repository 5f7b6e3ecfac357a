"""`bilevelmorph.ops.descriptors`: what MIND must not see, and what it must."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import uniform_filter

from bilevelmorph.ops.descriptors import mind

SHAPES = {2: (10, 9), 3: (7, 6, 8)}
PAIRS = {2: 4, 3: 12}


def random_image(rng, ndims, batch=2):
    return rng.normal(size=(batch, *SHAPES[ndims], 1)).astype(np.float32)


def reference(image, width=3, distance=1):
    """MIND-SSC of one image ``[*S]`` in NumPy, channels sorted."""
    n = image.ndim
    shifted = {}
    for axis, sign in itertools.product(range(n), (-1, 1)):
        where = np.clip(np.arange(image.shape[axis]) + sign * distance, 0, image.shape[axis] - 1)
        shifted[axis, sign] = image.take(where, axis)
    pairs = [(a, b) for a, b in itertools.combinations(shifted, 2) if a[0] != b[0]]
    apart = [uniform_filter((shifted[a] - shifted[b]) ** 2, width, mode="constant") for a, b in pairs]
    apart = np.stack(apart, -1)
    apart -= apart.min(-1, keepdims=True)
    variance = apart.mean(-1, keepdims=True)
    variance = np.clip(variance, 1e-3 * variance.mean(), 1e3 * variance.mean())
    return np.sort(np.exp(-apart / variance), -1)


@pytest.mark.parametrize("ndims", [2, 3])
def test_shape_and_range(rng, ndims):
    out = mind(tf.constant(random_image(rng, ndims))).numpy()
    assert out.shape == (2, *SHAPES[ndims], PAIRS[ndims])
    assert out.min() > 0
    np.testing.assert_allclose(out.max(-1), np.ones((2, *SHAPES[ndims])), atol=2e-6)


@pytest.mark.parametrize(("width", "distance"), [(3, 1), (5, 2)])
@pytest.mark.parametrize("ndims", [2, 3])
def test_values_of_numpy(rng, ndims, width, distance):
    image = random_image(rng, ndims)
    out = np.sort(mind(tf.constant(image), width, distance), -1)
    for one, values in zip(image[..., 0].astype(np.float64), out, strict=True):
        np.testing.assert_allclose(values, reference(one, width, distance), atol=1e-4)


@pytest.mark.parametrize(("scale", "offset"), [(-1, 0), (-1, 1), (3, -2), (0.1, 0.5)])
@pytest.mark.parametrize("ndims", [2, 3])
def test_contrast_does_not_matter(rng, ndims, scale, offset):
    image = random_image(rng, ndims)
    out, other = (mind(tf.constant(x)).numpy() for x in (image, scale * image + offset))
    np.testing.assert_allclose(other, out, atol=1e-3)
    assert out.std() > 0.1


def test_structure_does_matter(rng):
    first, second = (mind(tf.constant(random_image(rng, 2))).numpy() for _ in range(2))
    assert np.abs(first - second).mean() > 0.1


def test_images_of_a_batch_do_not_mix(rng):
    image = random_image(rng, 2)
    image[1] *= 100
    alone = mind(tf.constant(image[:1]))
    np.testing.assert_allclose(mind(tf.constant(image))[:1], alone, atol=1e-5)


def test_constant_image_is_finite_with_its_gradient():
    image = tf.fill([2, *SHAPES[2], 1], 0.7)
    with tf.GradientTape() as tape:
        tape.watch(image)
        out = mind(image)
    np.testing.assert_allclose(out, np.ones(out.shape), atol=1e-6)
    assert np.isfinite(tape.gradient(out, image)).all()
