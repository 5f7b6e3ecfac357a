"""The penalties on fields: NumPy, known values, masks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.compat.voxelmorph.import_hook import require
from bilevelmorph.losses import bending, diffusion, folding
from bilevelmorph.ops import affine_displacement

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}
every_penalty = pytest.mark.parametrize("penalty", [diffusion, bending, folding])


def random_field(rng, ndims, batch=2):
    return rng.normal(size=(batch, *SIZES[ndims], ndims)).astype(np.float32)


def grid(ndims):
    """Coordinates ``[1, *S, N]``."""
    return np.moveaxis(np.indices(SIZES[ndims]), 0, -1)[None].astype(np.float32)


def numpy_diffusion(field):
    return np.mean([np.mean(np.diff(field, axis=a) ** 2) for a in range(1, field.ndim - 1)])


def numpy_bending(field):
    """The mean over all ordered pairs of axes."""
    axes = range(1, field.ndim - 1)
    return np.mean([np.mean(np.diff(np.diff(field, axis=a), axis=b) ** 2) for a in axes for b in axes])


def numpy_folding(field):
    n = field.shape[-1]
    total = [np.stack([np.gradient(u, axis=a) for a in range(n)], -1) + np.eye(n) for u in field]
    return np.maximum(-np.linalg.det(total), 0).mean()


REFERENCES = {diffusion: numpy_diffusion, bending: numpy_bending, folding: numpy_folding}


@pytest.mark.parametrize("ndims", [1, 2, 3])
@every_penalty
def test_values_of_numpy(rng, penalty, ndims):
    field = random_field(rng, ndims)
    expected = REFERENCES[penalty](field.astype(np.float64))
    assert expected > 0.01
    np.testing.assert_allclose(penalty(tf.constant(field)), expected, rtol=1e-4)


@pytest.mark.parametrize("ndims", [2, 3])
def test_diffusion_is_the_penalty_of_voxelmorph(rng, ndims):
    field = tf.constant(random_field(rng, ndims))
    expected = tf.reduce_mean(require().losses.Grad("l2").loss(None, field))
    np.testing.assert_allclose(diffusion(field), expected, rtol=1e-5)


@every_penalty
def test_constant_fields_cost_nothing(penalty):
    assert float(penalty(tf.fill([1, *SIZES[2], 2], 3.0))) == 0


def test_diffusion_of_a_known_slope():
    """``u = (3 x, 4 y)``: mean of 9, 0 along x and 0, 16 along y."""
    field = grid(2) * np.array([3, 4], np.float32)
    assert float(diffusion(tf.constant(field))) == pytest.approx((4.5 + 8) / 2)


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_bending_is_zero_for_affine_fields_only(rng, ndims):
    matrix = tf.constant(rng.normal(size=(2, ndims, ndims + 1)))
    field = affine_displacement(matrix, SIZES[ndims])
    assert float(bending(field)) < 1e-20
    assert float(bending(field + grid(ndims)[..., :1] ** 2)) > 0.1


def test_bending_of_known_curves():
    """``u = (x^2, 0)``: 4 for one pair of axes of four; ``u = (x y, 0)``: 1 for two of four."""
    x, y = np.moveaxis(grid(2), -1, 0)
    for curve, expected in [(x * x, 4 / 2 / 4), (x * y, 2 / 2 / 4)]:
        field = np.stack([curve, 0 * curve], -1)
        assert float(bending(tf.constant(field))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_folding_counts_folded_voxels_only(ndims):
    mirror = np.zeros((1, *SIZES[ndims], ndims), np.float32)
    mirror[..., 0] = -2 * grid(ndims)[..., 0]
    assert float(folding(tf.constant(mirror))) == pytest.approx(1)
    for keeps_order in (-0.9, 0.0, 2.0):
        assert float(folding(tf.constant(keeps_order * grid(ndims)))) == 0


def test_folding_lies_where_space_folds():
    """One row pushed past the next but one folds the row after it, by 0.25 a voxel."""
    field = np.zeros((1, 9, 6, 2), np.float32)
    field[0, 4, :, 0] = 2.5
    assert float(folding(tf.constant(field))) == pytest.approx(0.25 / 9)
    mask = np.ones((1, 9, 6, 1), np.float32)
    mask[:, 5] = 0
    assert float(folding(tf.constant(field), tf.constant(mask))) == 0


@pytest.mark.parametrize("ndims", [2, 3])
@pytest.mark.parametrize("penalty", [diffusion, bending])
def test_what_lies_outside_the_mask_does_not_matter(rng, penalty, ndims):
    field = random_field(rng, ndims)
    mask = np.zeros((2, *SIZES[ndims], 1), np.float32)
    mask[:, 1:5, :4] = 1
    inside = field[:, 1:5, :4]
    garbage = np.where(mask > 0, field, 100 * field + 7).astype(np.float32)
    expected = REFERENCES[penalty](inside.astype(np.float64))
    assert float(penalty(tf.constant(field), tf.constant(mask))) == pytest.approx(expected, rel=1e-4)
    assert float(penalty(tf.constant(garbage), tf.constant(mask))) == pytest.approx(expected, rel=1e-4)


@every_penalty
def test_empty_and_full_masks(rng, penalty):
    field = tf.constant(random_field(rng, 2))
    assert float(penalty(field, tf.zeros([2, *SIZES[2], 1]))) == 0
    whole = float(penalty(field))
    assert float(penalty(field, tf.ones([2, *SIZES[2], 1]))) == pytest.approx(whole, rel=1e-5)


@every_penalty
def test_half_precision_fields_do_not_overflow(rng, penalty):
    field = (300 * random_field(rng, 2)).astype(np.float16)
    expected = REFERENCES[penalty](field.astype(np.float64))
    assert expected > 7e4 or penalty is folding
    np.testing.assert_allclose(penalty(tf.constant(field)), expected, rtol=1e-4)


@every_penalty
def test_gradient_of_finite_differences(rng, penalty):
    field, way = (random_field(rng, 2).astype(np.float64) for _ in range(2))
    x = tf.constant(field)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = penalty(x)
    exact = np.sum(tape.gradient(value, x) * way)
    step = 1e-6
    numeric = (penalty(x + step * way) - penalty(x - step * way)) / (2 * step)
    np.testing.assert_allclose(exact, numeric, rtol=1e-6)
