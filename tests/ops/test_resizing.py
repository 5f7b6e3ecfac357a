"""`bilevelmorph.ops.resizing` against NumPy, scipy and neurite."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import zoom

from bilevelmorph.compat.voxelmorph.import_hook import require
from bilevelmorph.ops import average_pool, resize, resize_field

CASES = [
    ((7,), (12,)),
    ((9, 6), (5, 6)),
    ((6, 5), (11, 3)),
    ((4, 5, 6), (8, 3, 6)),
]


def positions(old, new, align):
    """Where the new voxels lie on the old axis."""
    if align == "corners":
        return np.linspace(0, old - 1, new)
    return (np.arange(new) + 0.5) * old / new - 0.5


def reference(volume, shape, align):
    """Resize ``[B, *S, C]`` with `numpy.interp`, axis after axis."""
    for axis, new in enumerate(shape, start=1):
        old = volume.shape[axis]
        where = positions(old, new, align)
        volume = np.apply_along_axis(
            lambda line, n=old, w=where: np.interp(w, np.arange(n), line), axis, volume
        )
    return volume


def random_volume(rng, shape, channels=2):
    return rng.normal(size=(2, *shape, channels)).astype(np.float32)


@pytest.mark.parametrize("align", ["centres", "corners"])
@pytest.mark.parametrize(("old", "new"), CASES)
def test_linear_is_numpy_interp(rng, old, new, align):
    volume = random_volume(rng, old)
    out = resize(tf.constant(volume), list(new), align=align)
    assert out.shape == (2, *new, 2)
    np.testing.assert_allclose(out, reference(volume, new, align), atol=1e-5)


@pytest.mark.parametrize("align", ["centres", "corners"])
@pytest.mark.parametrize("order", [0, 1])
def test_scipy_zoom(rng, order, align):
    volume = random_volume(rng, (6, 5), 1)
    expected = zoom(volume[0, ..., 0], (2, 3), order=order, mode="nearest", grid_mode=align == "centres")
    method = "linear" if order else "nearest"
    out = resize(tf.constant(volume), [12, 15], method, align)
    np.testing.assert_allclose(out[0, ..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize(("old", "factor"), [((7, 6), 2), ((8, 6), 0.5), ((4, 5, 3), 2)])
def test_corners_are_the_rule_of_neurite(rng, old, factor, method):
    require()
    import neurite

    volume = random_volume(rng, old)
    expected = np.stack([neurite.tf.utils.resize(tf.constant(v), factor, method) for v in volume])
    shape = [int(n * factor) for n in old]
    np.testing.assert_allclose(resize(tf.constant(volume), shape, method, "corners"), expected, atol=1e-5)


def test_nearest_keeps_labels(rng):
    labels = rng.integers(0, 5, (1, 7, 6, 1)).astype(np.float32)
    out = resize(tf.constant(labels), [10, 17], "nearest").numpy()
    assert set(np.unique(out)) == set(np.unique(labels))
    rows = np.clip(np.round(positions(7, 10, "centres")), 0, 6).astype(int)
    columns = np.clip(np.round(positions(6, 17, "centres")), 0, 5).astype(int)
    np.testing.assert_array_equal(out[0, ..., 0], labels[0, ..., 0][np.ix_(rows, columns)])


@pytest.mark.parametrize("align", ["centres", "corners"])
def test_same_size_changes_nothing(rng, align):
    volume = random_volume(rng, (7, 6))
    np.testing.assert_array_equal(resize(tf.constant(volume), [7, 6], align=align), volume)


@pytest.mark.parametrize("align", ["centres", "corners"])
def test_one_voxel_becomes_many_and_constants_stay(align):
    one = tf.fill([1, 1, 1, 1], 3.0)
    np.testing.assert_allclose(resize(one, [4, 2], align=align), np.full((1, 4, 2, 1), 3.0))
    many = tf.fill([1, 5, 4, 1], 3.0)
    np.testing.assert_allclose(resize(many, [1, 3], align=align), np.full((1, 1, 3, 1), 3.0), rtol=1e-6)


@pytest.mark.parametrize("align", ["centres", "corners"])
def test_field_is_resized_and_rescaled(rng, align):
    field = random_volume(rng, (6, 5))
    out = resize_field(tf.constant(field), [11, 3], align)
    np.testing.assert_allclose(out, reference(field, (11, 3), align) * [11 / 6, 3 / 5], atol=1e-5)


@pytest.mark.parametrize("factor", [2, 0.5])
def test_field_corners_are_the_rule_of_voxelmorph(rng, factor):
    parent = require().tf.utils.rescale_dense_transform
    field = random_volume(rng, (8, 6))
    expected = np.stack([parent(tf.constant(f), factor) for f in field])
    shape = [int(n * factor) for n in (8, 6)]
    np.testing.assert_allclose(resize_field(tf.constant(field), shape, "corners"), expected, atol=1e-5)


def test_field_points_at_the_same_place_on_the_new_grid():
    """Displacements that all end at one place of the extent still end there."""
    old, new, goal = 8, 20, 0.4
    field = (goal * old - 0.5 - np.arange(old))[None, :, None].astype(np.float32)
    out = resize_field(tf.constant(field), [new])[0, :, 0].numpy()
    ends = (np.arange(new) + out + 0.5) / new
    inside = slice(2, -2)  # beyond it lie new centres outside all old ones
    np.testing.assert_allclose(ends[inside], goal, atol=1e-6)


def test_there_and_back_keeps_a_smooth_field():
    line = np.sin(np.arange(32) / 5)[None, :, None].astype(np.float32)
    back = resize_field(resize_field(tf.constant(line), [64]), [32])
    np.testing.assert_allclose(back[0, 1:-1], line[0, 1:-1], atol=0.02)


@pytest.mark.parametrize("shape", [(8,), (6, 4), (4, 6, 2)])
def test_halve_is_the_mean_of_blocks(rng, shape):
    volume = random_volume(rng, shape)
    expected = volume
    for axis in range(1, len(shape) + 1):
        expected = (
            expected.take(range(0, shape[axis - 1], 2), axis)
            + expected.take(range(1, shape[axis - 1], 2), axis)
        ) / 2
    out = average_pool(tf.constant(volume))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_allclose(resize(tf.constant(volume), [n // 2 for n in shape]), expected, atol=1e-5)


def test_gradient_is_the_transpose(rng):
    """``<resize(x), y> = <x, gradient>`` for a linear map."""
    volume, weight = random_volume(rng, (6, 5)), random_volume(rng, (11, 3))
    x = tf.constant(volume)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(resize(x, [11, 3]) * weight)
    np.testing.assert_allclose(np.sum(tape.gradient(value, x) * volume), value, rtol=1e-4)


@pytest.mark.parametrize("align", ["centres", "corners"])
def test_sizes_unknown_when_traced(rng, align):
    spec = tf.TensorSpec([None, None, None, 2])
    traced = tf.function(
        lambda x, shape: (
            resize_field(x, tf.unstack(shape), align),
            average_pool(x),
            resize(x, tf.unstack(shape), "nearest"),
        ),
        input_signature=[spec, tf.TensorSpec([2], tf.int32)],
    )
    for old, new in [((6, 4), (11, 3)), ((8, 2), (8, 5))]:
        x = tf.constant(random_volume(rng, old))
        field, half, nearest = traced(x, list(new))
        np.testing.assert_allclose(field, resize_field(x, list(new), align), atol=1e-5)
        np.testing.assert_allclose(half, average_pool(x), atol=1e-6)
        np.testing.assert_array_equal(nearest, resize(x, list(new), "nearest"))
