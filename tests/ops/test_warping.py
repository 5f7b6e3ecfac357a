"""`bilevelmorph.ops.warping` against scipy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter, map_coordinates

from bilevelmorph.devices import using_xla
from bilevelmorph.ops import affine_displacement, compose, warp

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}
ORDER = {"linear": 1, "nearest": 0}


def scipy_warp(volume, displacement, method="linear", mode="nearest", cval=0.0):
    """Warp ``[B, *S, C]`` by ``[B, *T, N]`` with scipy, both batches of the same size."""
    out = []
    for image, field in zip(volume, displacement, strict=True):
        where = np.indices(field.shape[:-1]) + np.moveaxis(field, -1, 0)
        channels = np.moveaxis(image.astype(np.float64), -1, 0)
        out.append([map_coordinates(c, where, order=ORDER[method], mode=mode, cval=cval) for c in channels])
    return np.moveaxis(np.array(out), 1, -1)


def pair(rng, ndims, batch=2, channels=2, dtype=np.float32):
    """A random volume and a displacement that leaves it in many places."""
    volume = rng.normal(size=(batch, *SIZES[ndims], channels))
    displacement = rng.normal(size=(batch, *SIZES[ndims], ndims), scale=2)
    return volume.astype(dtype), displacement.astype(dtype)


def smooth_field(rng, shape, amplitude):
    """A displacement ``[1, *shape, N]`` with the given largest component."""
    field = rng.normal(size=(*shape, len(shape)))
    field = gaussian_filter(field, [4] * len(shape) + [0])
    return (amplitude * field / np.abs(field).max())[None].astype(np.float32)


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_values_of_scipy(rng, ndims, method):
    volume, displacement = pair(rng, ndims)
    out = warp(volume, tf.constant(displacement), method)
    np.testing.assert_allclose(out, scipy_warp(volume, displacement, method), atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_fill_value_outside(rng, method):
    volume, displacement = pair(rng, 2)
    out = warp(volume, tf.constant(displacement), method, -3.0)
    expected = scipy_warp(volume, displacement, method, "constant", -3.0)
    assert 10 < np.sum(expected == -3.0) < expected.size - 10
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_nearest_keeps_integers(rng, dtype):
    volume = rng.integers(0, 200, (2, 7, 6, 2)).astype(dtype)
    displacement = pair(rng, 2)[1]
    out = warp(volume, tf.constant(displacement), "nearest")
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, scipy_warp(volume, displacement, "nearest"))


def test_linear_rounds_integers(rng):
    """A constant integer volume stays what it is: no value falls to the integer below."""
    displacement = pair(rng, 2)[1]
    out = warp(tf.fill([2, 7, 6, 2], tf.constant(7, tf.uint8)), tf.constant(displacement))
    np.testing.assert_array_equal(out, np.full((2, 7, 6, 2), 7))


def test_half_precision_volume_keeps_precise_positions():
    volume = np.arange(2048, dtype=np.float16).reshape(1, -1, 1)
    displacement = np.full((1, 2048, 1), 0.25, np.float32)
    out = warp(tf.constant(volume), tf.constant(displacement))
    assert out.dtype == tf.float16
    expected = scipy_warp(volume, displacement).astype(np.float16)
    np.testing.assert_allclose(out, expected, atol=1)
    np.testing.assert_array_equal(out.numpy()[0, :500, 0] % 1, 0.25)


def test_one_volume_serves_a_batch_of_displacements(rng):
    volume, displacement = pair(rng, 2, batch=3)
    out = warp(volume[:1], tf.constant(displacement))
    expected = scipy_warp(np.repeat(volume[:1], 3, 0), displacement)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_one_displacement_serves_a_batch_of_volumes(rng):
    volume, displacement = pair(rng, 2, batch=3)
    out = warp(volume, tf.constant(displacement[:1]))
    expected = scipy_warp(volume, np.repeat(displacement[:1], 3, 0))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_grid_of_another_size_than_the_volume(rng):
    volume = pair(rng, 2)[0]
    displacement = rng.normal(size=(2, 4, 9, 2), scale=2).astype(np.float32)
    out = warp(volume, tf.constant(displacement))
    assert out.shape == (2, 4, 9, 2)
    np.testing.assert_allclose(out, scipy_warp(volume, displacement), atol=1e-5)


def test_shapes_may_change_from_call_to_call(rng):
    """What one call compiled must not leak into calls of other ranks, batches and channels."""
    for ndims, batch, channels in [(2, 1, 1), (3, 1, 1), (2, 2, 3), (1, 2, 1), (2, 1, 1)]:
        volume, displacement = pair(rng, ndims, batch, channels)
        out = warp(volume, tf.constant(displacement))
        np.testing.assert_allclose(out, scipy_warp(volume, displacement), atol=1e-5)


def test_compose_equals_warping_twice(rng):
    shape = (24, 22)
    image = gaussian_filter(rng.normal(size=shape), 4)[None, ..., None].astype(np.float32)
    image /= np.abs(image).max()
    first, then = (smooth_field(rng, shape, 1.5) for _ in range(2))
    at_once = warp(image, compose(tf.constant(first), tf.constant(then))).numpy()
    twice = warp(warp(image, tf.constant(first)), tf.constant(then)).numpy()
    inside = (0, slice(4, -4), slice(4, -4), 0)
    error = np.abs(at_once - twice)[inside].max()
    moved = np.abs(twice - image)[inside].max()
    assert error < 0.02
    assert moved > 10 * error


def test_compose_is_not_symmetric(rng):
    first, then = (smooth_field(rng, (24, 22), 1.5) for _ in range(2))
    out = compose(tf.constant(first), tf.constant(then))
    np.testing.assert_allclose(out, then + scipy_warp(first, then), atol=1e-5)


@pytest.mark.parametrize("indexing", ["ij", "xy"])
@pytest.mark.parametrize("shift_center", [True, False])
@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_affine_displacement_of_numpy(rng, ndims, shift_center, indexing):
    shape = SIZES[ndims]
    matrix = rng.normal(size=(2, ndims, ndims + 1)).astype(np.float32)
    with using_xla("off"):
        out = affine_displacement(tf.constant(matrix), shape, shift_center, indexing)
    where = np.moveaxis(np.indices(shape), 0, -1).astype(np.float64)
    if shift_center:
        where -= (np.array(shape) - 1) / 2
    if indexing == "xy" and ndims > 1:
        where = where[..., [1, 0, *range(2, ndims)]]
    linear = np.einsum("bij,...j->b...i", matrix[..., :-1], where)
    shift = matrix[:, :, -1].reshape(2, *[1] * ndims, ndims)
    np.testing.assert_allclose(out, linear + shift - where[None], atol=1e-5)


@pytest.mark.parametrize("ndims", [2, 3])
def test_identity_matrix_displaces_nothing(ndims):
    matrix = np.eye(ndims, ndims + 1, dtype=np.float32)[None]
    out = affine_displacement(tf.constant(matrix), SIZES[ndims])
    np.testing.assert_array_equal(out, np.zeros((1, *SIZES[ndims], ndims)))


@pytest.mark.parametrize("fill_value", [None, 2.0])
def test_gradients_of_finite_differences(rng, fill_value):
    volume, _ = pair(rng, 2, dtype=np.float64)
    # Away from whole voxels, where the derivative jumps.
    whole = rng.integers(-3, 3, (2, *SIZES[2], 2))
    displacement = whole + rng.uniform(0.2, 0.8, whole.shape)
    weight = rng.normal(size=volume.shape)

    def loss(v, u):
        return tf.reduce_sum(weight * warp(v, u, "linear", fill_value))

    v, u = tf.constant(volume), tf.constant(displacement)
    with tf.GradientTape() as tape:
        tape.watch([v, u])
        value = loss(v, u)
    slopes = tape.gradient(value, [v, u])
    step = 1e-5
    for _ in range(3):
        way_v, way_u = rng.normal(size=volume.shape), rng.normal(size=displacement.shape)
        for dv, du in [(way_v, 0 * way_u), (0 * way_v, way_u)]:
            numeric = (loss(v + step * dv, u + step * du) - loss(v - step * dv, u - step * du)) / (2 * step)
            exact = np.sum(slopes[0] * dv) + np.sum(slopes[1] * du)
            np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-7)


def test_frozen_stops_only_the_gradient_of_the_volume(rng):
    volume, displacement = (tf.constant(x) for x in pair(rng, 2))
    slopes = {}
    for frozen in (False, True):
        with tf.GradientTape() as tape:
            tape.watch([volume, displacement])
            value = tf.reduce_sum(tf.square(warp(volume, displacement, stop_image_gradient=frozen)))
        slopes[frozen] = tape.gradient(
            value, [volume, displacement], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
    assert np.abs(slopes[False][0]).max() > 0
    np.testing.assert_array_equal(slopes[True][0], np.zeros(volume.shape))
    np.testing.assert_allclose(slopes[True][1], slopes[False][1], rtol=1e-6)


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_plain_tensorflow_gives_what_xla_gives(rng, method):
    volume, displacement = (tf.constant(x) for x in pair(rng, 2))
    compiled = warp(volume, displacement, method)
    with using_xla("off"):
        plain = warp(volume, displacement, method)
    np.testing.assert_allclose(compiled, plain, atol=1e-6)


@pytest.mark.parametrize("mode", ["off", "islands"])
def test_sizes_unknown_when_traced(rng, mode):
    def spec(channels):
        return tf.TensorSpec([None, None, None, channels], tf.float32)

    with using_xla(mode):
        warped = tf.function(warp, input_signature=[spec(2), spec(2)])
        composed = tf.function(compose, input_signature=[spec(2), spec(2)])
        for shape in [(7, 6), (5, 9)]:
            volume = rng.normal(size=(2, *shape, 2)).astype(np.float32)
            displacement = rng.normal(size=(2, *shape, 2)).astype(np.float32)
            expected = scipy_warp(volume, displacement)
            np.testing.assert_allclose(warped(volume, displacement), expected, atol=1e-5)
            np.testing.assert_allclose(composed(volume, displacement), displacement + expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["off", "islands"])
def test_one_volume_serves_a_batch_of_unknown_size(rng, mode):
    spec = tf.TensorSpec([None, 7, 6, 2], tf.float32)
    volume, displacement = pair(rng, 2, batch=3)
    with using_xla(mode):
        out = tf.function(warp, input_signature=[spec, spec])(volume[:1], displacement)
    np.testing.assert_allclose(out, scipy_warp(np.repeat(volume[:1], 3, 0), displacement), atol=1e-5)


def test_affine_displacement_of_unknown_sizes(rng):
    matrix = rng.normal(size=(2, 2, 3)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 3]), tf.TensorSpec([2], tf.int32)])
    def traced(m, shape):
        with using_xla("off"):
            return affine_displacement(m, shape)

    expected = affine_displacement(tf.constant(matrix), [7, 6])
    np.testing.assert_allclose(traced(matrix, [7, 6]), expected, atol=1e-5)


@pytest.mark.parametrize("ndims", [2, 3])
def test_a_displacement_that_is_not_a_number_gives_none(ndims):
    """Where training diverges, the loss has to be NaN, which is noticed; the program must not end."""
    volume = tf.random.stateless_uniform([1, *[6] * ndims, 1], [0, 1])
    displacement = np.zeros((1, *[6] * ndims, ndims), np.float32)
    displacement[0, 2] = np.nan
    moved = tf.function(warp)(volume, tf.constant(displacement)).numpy()
    assert np.isnan(moved[0, 2]).all()
    np.testing.assert_array_equal(np.delete(moved, 2, 1), np.delete(volume.numpy(), 2, 1))
