"""Intensities, orientation and size of the grid."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from bilevelmorph.data.preprocessing import crop_or_pad, normalise, to_canonical
from bilevelmorph.data.volume import Volume

AXES = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def marked(shape, index, affine):
    """A volume that is 0 but for one voxel, and that voxel's world position."""
    data = np.zeros(shape, np.float32)
    data[index] = 1
    return Volume(data, affine), affine[: len(shape), : len(shape)] @ index + affine[: len(shape), 3]


def world_of_mark(volume):
    index = np.unravel_index(int(volume.data.argmax()), volume.shape)
    n = volume.ndims
    return volume.affine[:n, :n] @ index + volume.affine[:n, 3]


@pytest.mark.parametrize(("scale", "offset"), [(1000, 0), (1, 500), (1000, -3000), (1e-3, 0.1)])
@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0, 100)])
def test_normalise_cancels_scale_and_offset(rng, scale, offset, percentiles):
    data = rng.normal(size=(7, 8, 9))
    out = normalise(data, percentiles)
    np.testing.assert_allclose(normalise(data * scale + offset, percentiles), out, atol=1e-6)
    assert out.dtype == np.float32
    assert (out.min(), out.max()) == (0, 1)


def test_normalise_clips_at_the_percentiles(rng):
    data = rng.permutation(np.arange(1001.0))
    out = normalise(data, (10, 90))
    np.testing.assert_allclose(out, np.clip((data - 100) / 800, 0, 1), atol=1e-6)


def test_normalise_keeps_a_speck_on_a_flat_ground():
    data = np.zeros([20, 20])
    data[3, 4] = 7
    np.testing.assert_array_equal(normalise(data), data / 7)


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_canonical_keeps_world_positions(order, signs):
    linear = np.zeros([3, 3])
    linear[list(order), range(3)] = np.array(signs) * (0.7, 1.5, 2.0)
    # A slight obliquity, so that nothing depends on exact zeros.
    c, s = np.cos(0.1), np.sin(0.1)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ linear
    affine[:3, 3] = 10, -20, 30
    volume, world = marked((4, 5, 6), (1, 3, 2), affine)
    turned = to_canonical(volume)
    assert "".join(nib.aff2axcodes(turned.affine)) == "RAS"
    assert turned.data.sum() == 1
    np.testing.assert_allclose(world_of_mark(turned), world, atol=1e-9)
    again = to_canonical(turned)
    np.testing.assert_array_equal(again.data, turned.data)
    np.testing.assert_allclose(again.affine, turned.affine, atol=1e-12)


def test_canonical_leaves_two_dimensions_alone():
    volume = Volume(np.arange(6.0).reshape(2, 3), np.diag([-1.0, 1, 1, 1]))
    assert to_canonical(volume) is volume


@pytest.mark.parametrize("old", [(4, 5), (5, 4), (4, 5, 7), (9, 8, 6)])
@pytest.mark.parametrize("new", [4, 5, 8, 13])
def test_centred_keeps_world_positions(old, new):
    shape = tuple(new + d for d in range(len(old)))
    affine = np.diag([0.5, -2.0, 1.5, 1.0])
    affine[:3, 3] = 3, 4, 5
    volume, world = marked(old, tuple(n // 2 for n in old), affine)
    out = crop_or_pad(volume, shape)
    assert out.shape == shape
    assert out.data.sum() == 1
    np.testing.assert_allclose(world_of_mark(out), world, atol=1e-12)
    shift = np.abs((out.centre - volume.centre)[: len(old)])
    assert (shift <= volume.spacing / 2 + 1e-12).all()


def test_centred_pads_with_zeros_and_keeps_the_dtype():
    out = crop_or_pad(Volume(np.ones([3, 4], np.int16), np.eye(4), "labels"), (6, 8))
    assert out.data.dtype == np.int16
    assert out.kind == "labels"
    assert out.data.sum() == 12
    np.testing.assert_array_equal(np.flatnonzero(out.data.any(0)), [2, 3, 4, 5])
