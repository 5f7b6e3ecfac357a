"""`bilevelmorph.ops.matching` against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.ops.matching import cost_volume, demons_force, soft_argmin
from bilevelmorph.ops.warping import warp

SHAPES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


def features(rng, ndims):
    return rng.normal(size=(2, *SHAPES[ndims], 3)).astype(np.float32)


def reference(fixed, moved, radius):
    """Costs from explicitly shifted copies, zeros outside."""
    ndims = fixed.ndim - 2
    costs = []
    for shift in itertools.product(range(-radius, radius + 1), repeat=ndims):
        other = np.zeros_like(moved)
        for at in np.ndindex(*fixed.shape[1:-1]):
            there = tuple(np.add(at, shift))
            if all(0 <= t < n for t, n in zip(there, fixed.shape[1:-1], strict=True)):
                other[(slice(None), *at)] = moved[(slice(None), *there)]
        costs.append(np.abs(fixed - other).mean(-1))
    return np.stack(costs, -1)


@pytest.mark.parametrize(("ndims", "radius"), [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1)])
def test_costs_of_numpy(rng, ndims, radius):
    fixed, moved = features(rng, ndims), features(rng, ndims)
    out = cost_volume(tf.constant(fixed), tf.constant(moved), radius)
    assert out.shape == (2, *SHAPES[ndims], (2 * radius + 1) ** ndims)
    np.testing.assert_allclose(out, reference(fixed, moved, radius), atol=1e-6)


def test_no_cost_where_features_agree(rng):
    fixed = tf.constant(features(rng, 2))
    np.testing.assert_array_equal(cost_volume(fixed, fixed), np.zeros((2, *SHAPES[2], 1)))


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-1, 1), (0, -1)])
def test_least_cost_is_at_the_shift(rng, shift):
    fixed = features(rng, 2)
    moved = np.roll(fixed, shift, (1, 2))
    cost = cost_volume(tf.constant(fixed), tf.constant(moved), 1).numpy()[:, 1:-1, 1:-1]
    shifts = list(itertools.product((-1, 0, 1), repeat=2))
    np.testing.assert_array_equal(cost.argmin(-1), np.full(cost.shape[:-1], shifts.index(shift)))


def test_sizes_unknown_when_traced(rng):
    spec = tf.TensorSpec([None, None, None, 3])
    traced = tf.function(lambda f, m: cost_volume(f, m, 1), input_signature=[spec, spec])
    fixed, moved = features(rng, 2), features(rng, 2)
    for size in (7, 4):
        f, m = fixed[:, :size], moved[:, :size]
        np.testing.assert_allclose(traced(f, m), reference(f, m, 1), atol=1e-6)


@pytest.mark.parametrize(("ndims", "radius"), [(1, 2), (2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("xla_mode", ["off", "islands"])
def test_slopes_are_those_of_differences_summed_by_hand(rng, ndims, radius, xla_mode):
    sizes = (6, 5, 4)[:ndims]
    pair = [tf.constant(rng.normal(size=(2, *sizes, 3))) for _ in range(2)]
    upstream = tf.constant(rng.normal(size=(2, *sizes, (2 * radius + 1) ** ndims)))

    def by_hand(fixed, moved):
        padded = tf.pad(moved, [[0, 0], *[[radius, radius]] * ndims, [0, 0]])
        shifts = itertools.product(range(2 * radius + 1), repeat=ndims)
        places = [tuple(slice(s, s + n) for s, n in zip(k, sizes, strict=True)) for k in shifts]
        near = [padded[(slice(None), *place)] for place in places]
        return tf.stack([tf.reduce_mean(tf.abs(fixed - n), -1) for n in near], -1)

    def slopes(function):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(pair)
            with tf.GradientTape() as tape:
                tape.watch(pair)
                total = tf.reduce_sum(function(*pair) * upstream * tf.reduce_sum(pair[0] ** 2, -1)[..., None])
            first = tape.gradient(total, pair)
            size = tf.add_n([tf.reduce_sum(g**2) for g in first])
        return [*first, *outer.gradient(size, pair)]

    with using_xla(xla_mode):
        found = slopes(lambda a, b: cost_volume(a, b, radius))
    for mine, expected in zip(found, slopes(by_hand), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-9)


@pytest.mark.parametrize(("ndims", "radius"), [(1, 2), (2, 1), (3, 1)])
def test_soft_argmin_of_numpy(rng, ndims, radius):
    """Costs are measured against their mean over each batch entry."""
    shifts = np.array(list(itertools.product(range(-radius, radius + 1), repeat=ndims)))
    cost = rng.random((2, *[4] * ndims, len(shifts))).astype(np.float32)
    cost[1] *= 50
    typical = cost.mean(tuple(range(1, cost.ndim)), keepdims=True)
    weight = np.exp(-3 * cost / typical)
    expected = (weight / weight.sum(-1, keepdims=True)) @ shifts
    out = soft_argmin(tf.constant(cost), radius, ndims, tf.constant(3.0))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_soft_argmin_of_equal_costs_stays():
    for cost in (0.0, 2.0):
        out = soft_argmin(tf.fill([1, 4, 4, 9], cost), 1, 2, tf.constant(9.0))
        np.testing.assert_allclose(out, np.zeros((1, 4, 4, 2)), atol=1e-6)


def test_sharp_soft_argmin_finds_the_shift(rng):
    fixed = features(rng, 2)
    cost = cost_volume(tf.constant(fixed), tf.constant(np.roll(fixed, (-1, 1), (1, 2))), 1)
    out = soft_argmin(cost, 1, 2, tf.constant(100.0))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(out, np.broadcast_to([-1.0, 1.0], out.shape), atol=1e-3)


@pytest.mark.parametrize("ndims", [1, 2, 3])
def test_matching_force_of_numpy(rng, ndims):
    fixed, moved = (features(rng, ndims) for _ in range(2))
    axes = range(1, ndims + 1)
    slopes = [np.gradient(moved, axis=a) for a in axes]
    apart = fixed - moved
    below = sum((g**2).mean(-1) for g in slopes) + (apart**2).mean(-1)
    expected = np.stack([(apart * g).mean(-1) / below for g in slopes], -1)
    out = demons_force(tf.constant(fixed), tf.constant(moved))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(out).max() <= 0.5


def test_matching_force_is_the_descent_direction(rng):
    """Its sign and ratio of components are those of the gradient of the squared distance."""
    fixed, moved = (
        tf.constant(gaussian_filter(rng.normal(size=(1, 24, 20, 3)), (0, 2, 2, 0)).astype(np.float32))
        for _ in range(2)
    )
    at = tf.zeros([*fixed.shape[:-1], 2])
    with tf.GradientTape() as tape:
        tape.watch(at)
        # Half a voxel to either side: what central differences see.
        near = (warp(moved, at + 0.5) + warp(moved, at - 0.5)) / 2
        distance = tf.reduce_sum(tf.square(fixed - near)) / 2
    down = -tape.gradient(distance, at).numpy()[:, 2:-2, 2:-2]
    force = demons_force(fixed, moved).numpy()[:, 2:-2, 2:-2]
    size = np.linalg.norm(down, axis=-1) * np.linalg.norm(force, axis=-1)
    cosine = (down * force).sum(-1) / np.maximum(size, 1e-12)
    assert np.median(cosine) > 0.9
