"""`bilevelmorph.ops.integration` against flows that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter

from bilevelmorph.ops import compose, integrate, jacobian_determinant

SPIRAL = np.array([[-0.1, -0.3], [0.3, -0.1]])  # every path runs inward, so none leaves the grid


def linear_field(matrix, size=17):
    """``v(x) = matrix (x - centre)`` on a cube, and ``x - centre`` itself."""
    n = len(matrix)
    place = np.moveaxis(np.indices([size] * n), 0, -1) - (size - 1) / 2
    return (place @ matrix.T)[None].astype(np.float32), place


def smooth_velocity(rng, shape, amplitude):
    """A random smooth velocity ``[2, *shape, N]`` with the given largest component."""
    field = rng.normal(size=(2, *shape, len(shape)))
    field = gaussian_filter(field, [0] + [4] * len(shape) + [0], mode="nearest")
    return (amplitude * field / np.abs(field).max()).astype(np.float32)


@pytest.mark.parametrize(
    ("steps", "method"), [(0, "ss"), (3, "ss"), (7, "ss"), (1, "quadrature"), (5, "quadrature")]
)
@pytest.mark.parametrize("shape", [(8,), (7, 6), (4, 5, 3)])
def test_constant_velocity_is_its_own_displacement(shape, steps, method):
    velocity = np.broadcast_to(np.arange(1.0, 1 + len(shape)), (2, *shape, len(shape))).astype(np.float32)
    np.testing.assert_allclose(integrate(tf.constant(velocity), steps, method), velocity, rtol=1e-5)


def test_no_squarings_return_the_velocity(rng):
    velocity = rng.normal(size=(2, 7, 6, 2)).astype(np.float32)
    np.testing.assert_array_equal(integrate(tf.constant(velocity), 0), velocity)


def test_linear_velocity_gives_the_matrix_exponential():
    velocity, place = linear_field(SPIRAL)
    out = integrate(tf.constant(velocity), 7)[0]
    inside = np.linalg.norm(place, axis=-1) < 7
    expected = place @ (expm(SPIRAL) - np.eye(2)).T
    np.testing.assert_allclose(out[inside], expected[inside], atol=5e-3)


@pytest.mark.parametrize(
    ("steps", "method", "moves"), [(2, "ss", 4), (7, "ss", 128), (1, "quadrature", 1), (6, "quadrature", 6)]
)
def test_linear_velocity_is_integrated_in_equal_moves(steps, method, moves):
    """Interpolation is exact on a linear field, so what is left is a power of one small move."""
    velocity, place = linear_field(SPIRAL)
    out = integrate(tf.constant(velocity), steps, method)[0]
    inside = np.linalg.norm(place, axis=-1) < 7
    flow = np.linalg.matrix_power(np.eye(2) + SPIRAL / moves, moves)
    np.testing.assert_allclose(out[inside], (place @ (flow - np.eye(2)).T)[inside], atol=2e-4)


def test_more_squarings_come_closer():
    velocity, place = linear_field(SPIRAL)
    inside = np.linalg.norm(place, axis=-1) < 7
    expected = (place @ (expm(SPIRAL) - np.eye(2)).T)[inside]
    errors = [np.abs(integrate(tf.constant(velocity), n)[0][inside] - expected).max() for n in (1, 3, 5)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("shape", [(24, 22), (14, 16, 15)])
def test_negated_velocity_gives_the_inverse(rng, shape):
    velocity = tf.constant(smooth_velocity(rng, shape, 2.0))
    forward, backward = integrate(velocity), integrate(-velocity)
    inside = (slice(None), *[slice(3, -3)] * len(shape))
    for a, b in [(forward, backward), (backward, forward)]:
        left = compose(a, b).numpy()[inside]
        moved = np.abs(a.numpy()[inside]).max()
        assert moved > 0.5
        assert np.abs(left).max() < 0.05 * moved


def test_flow_does_not_fold_where_the_velocity_itself_would():
    """A displacement that folds space as it is becomes a diffeomorphism as a velocity."""
    place = np.arange(32.0)
    velocity = (4 * np.sin(2 * np.pi * place / 16))[None, :, None].astype(np.float32)
    assert np.min(jacobian_determinant(tf.constant(velocity))) < -0.4
    assert np.min(jacobian_determinant(integrate(tf.constant(velocity)))) > 0


def test_gradient_of_finite_differences(rng):
    velocity = smooth_velocity(rng, (7, 6), 1.0).astype(np.float64)
    weight, way = rng.normal(size=velocity.shape), rng.normal(size=velocity.shape)

    def loss(v):
        return tf.reduce_sum(weight * integrate(v, 3))

    v = tf.constant(velocity)
    with tf.GradientTape() as tape:
        tape.watch(v)
        value = loss(v)
    exact = np.sum(tape.gradient(value, v) * way)
    step = 1e-6
    numeric = (loss(v + step * way) - loss(v - step * way)) / (2 * step)
    np.testing.assert_allclose(exact, numeric, rtol=1e-5)


def test_sizes_unknown_when_traced(rng):
    traced = tf.function(integrate, input_signature=[tf.TensorSpec([None, None, None, 2])], autograph=False)
    velocity = smooth_velocity(rng, (7, 6), 1.0)
    np.testing.assert_allclose(traced(velocity), integrate(tf.constant(velocity)), atol=1e-6)
