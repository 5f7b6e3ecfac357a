"""`bilevelmorph.ops.derivatives` against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.ops import affine_displacement, difference, gradient, jacobian_determinant

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


def numpy_determinant(displacement):
    """Determinant of ``x -> x + u(x)`` for ``[*S, N]``, from `numpy.gradient`."""
    n = displacement.shape[-1]
    jacobian = np.stack([np.gradient(displacement, axis=axis) for axis in range(n)], -1)
    return np.linalg.det(jacobian + np.eye(n))


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_difference_is_numpy_diff(rng, ndims):
    x = rng.normal(size=(2, *SIZES[ndims], 2)).astype(np.float32)
    for axis in range(1, ndims + 1):
        np.testing.assert_array_equal(difference(tf.constant(x), axis), np.diff(x, axis=axis))


@pytest.mark.parametrize("shape", [*SIZES.values(), (2, 6)])
def test_gradient_is_numpy_gradient(rng, shape):
    x = rng.normal(size=(2, *shape, 2)).astype(np.float32)
    out = gradient(tf.constant(x))
    assert len(out) == len(shape)
    for axis, slope in enumerate(out, start=1):
        np.testing.assert_allclose(slope, np.gradient(x, axis=axis), atol=1e-6)


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_determinant_of_random_fields(rng, ndims):
    displacement = rng.normal(size=(2, *SIZES[ndims], ndims))
    out = jacobian_determinant(tf.constant(displacement))
    assert out.shape == (2, *SIZES[ndims])
    np.testing.assert_allclose(out, [numpy_determinant(u) for u in displacement], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_determinant_of_affine_maps(rng, ndims):
    matrix = rng.normal(size=(2, ndims, ndims + 1))
    displacement = affine_displacement(tf.constant(matrix), SIZES[ndims])
    expected = np.linalg.det(matrix[:, :, :-1]).reshape(2, *[1] * ndims)
    out = jacobian_determinant(displacement)
    np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), rtol=1e-6)


@pytest.mark.parametrize("ndims", [2, 3])
def test_turning_keeps_volume_and_mirroring_turns_it_inside_out(ndims):
    turn = np.eye(ndims, ndims + 1)
    turn[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    mirror = np.eye(ndims, ndims + 1)
    mirror[-1, -2] = -1
    displacement = affine_displacement(tf.constant(np.stack([turn, mirror])), SIZES[ndims])
    out = jacobian_determinant(displacement).numpy()
    np.testing.assert_allclose(out[0], 1, rtol=1e-9)
    np.testing.assert_allclose(out[1], -1, rtol=1e-9)


def test_folding_is_found_where_it_is():
    """One row that is pushed past the next but one folds space there and nowhere else."""
    displacement = np.zeros((1, 9, 6, 2), np.float32)
    displacement[0, 4, :, 0] = 2.5
    determinant = jacobian_determinant(tf.constant(displacement)).numpy()[0]
    rows = np.unique(np.nonzero(determinant < 0)[0])
    np.testing.assert_array_equal(rows, [5])
    np.testing.assert_allclose(determinant[5], 1 - 2.5 / 2)


def test_determinant_of_unknown_sizes(rng):
    traced = tf.function(jacobian_determinant, input_signature=[tf.TensorSpec([None, None, None, 2])])
    for shape in [(7, 6), (5, 8)]:
        displacement = rng.normal(size=(1, *shape, 2)).astype(np.float32)
        np.testing.assert_allclose(traced(displacement)[0], numpy_determinant(displacement[0]), atol=1e-4)
