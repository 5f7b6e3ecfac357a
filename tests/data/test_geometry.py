"""World coordinates: sampling, resampling, centring, displacements."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from bilevelmorph.data.geometry import (
    centre_translation,
    integer_shift,
    onto,
    outside_of,
    read_field,
    resample,
    resample_to_spacing,
    sample,
    sample_field,
    transform_points,
    voxel_positions,
    warp_volume,
)
from bilevelmorph.data.preprocessing import crop_or_pad, to_canonical
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError

BLOB, WIDTH = np.array([3.0, -2.0, 4.0]), 5.0


def grid(shape, linear):
    """``[4, 4]`` affine of a grid crop_or_pad at the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ ((np.array(shape) - 1) / 2)
    return affine


def turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


GRIDS = {
    "ras": ((40, 42, 44), np.eye(3)),
    "las": ((41, 40, 40), np.diag([-1.0, 1, 1])),
    "lps": ((40, 41, 42), np.diag([-1.0, -1, 1])),
    "oblique": ((36, 40, 38), turn(0.3)),
    "anisotropic": ((50, 27, 20), np.diag([0.8, 1.5, 2.0])),
    "permuted": ((40, 41, 42), np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])),
}


def blob_on(name):
    """A Gaussian blob at `BLOB` in the world, on one of the grids."""
    shape, linear = GRIDS[name]
    affine = grid(shape, linear)
    world = transform_points(affine, voxel_positions(shape).astype(float))
    return Volume(np.exp(-((world - BLOB) ** 2).sum(-1) / (2 * WIDTH**2)).astype(np.float32), affine)


def centre_of_mass(volume):
    weight = np.maximum(volume.data - 0.05, 0).astype(float)
    index = (voxel_positions(volume.shape) * weight[..., None]).sum(tuple(range(volume.ndims))) / weight.sum()
    return transform_points(volume.affine, index)


@pytest.mark.parametrize("shape", [(7, 8), (5, 6, 7)])
def test_sample_agrees_with_scipy(rng, shape):
    data = rng.normal(size=shape).astype(np.float32)
    positions = rng.uniform(0, np.array(shape) - 1, (200, len(shape)))
    expected = RegularGridInterpolator([np.arange(n) for n in shape], data.astype(float))(positions)
    out = sample(Volume(data, np.eye(4)), positions)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert out.dtype == np.float32


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_sample_outside(kind):
    volume = Volume(np.array([[1, 2], [3, 4]]), np.eye(4), kind)
    at = np.array([[-0.4, 0], [-0.6, 0], [1.4, 1], [1, 1.6], [50, 0]])
    np.testing.assert_array_equal(sample(volume, at), [1, 0, 4, 0, 0])
    np.testing.assert_array_equal(sample(volume, at, outside=9), [1, 9, 4, 9, 9])
    np.testing.assert_array_equal(outside_of((2, 2), at), [False, True, False, True, True])


def test_sample_refuses_another_number_of_axes():
    with pytest.raises(InputError, match="2-D data, expected 3-D like the warp"):
        sample(Volume(np.ones([4, 4]), np.eye(4)), np.zeros([5, 3]))


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(GRIDS, 2)))
def test_resample_keeps_world_positions(source, target):
    expected = blob_on(target)
    out = resample(blob_on(source), expected.shape, expected.affine, np.eye(4))
    np.testing.assert_allclose(centre_of_mass(out), centre_of_mass(expected), atol=0.1)
    np.testing.assert_allclose(out.data, expected.data, atol=0.04)


def test_resample_through_a_world_matrix():
    shape, linear = GRIDS["oblique"]
    shift = np.eye(4)
    shift[:3, 3] = 2, -1, 3
    out = resample(blob_on("lps"), shape, grid(shape, linear), shift)
    np.testing.assert_allclose(centre_of_mass(out), BLOB - shift[:3, 3], atol=0.1)


def test_labels_are_never_blended(rng):
    shape, linear = GRIDS["oblique"]
    labels = rng.choice(np.array([0, 3, 200], np.uint8), (40, 42, 44))
    volume = Volume(labels, grid(labels.shape, np.eye(3)), "labels")
    affine = grid(shape, linear)
    out = resample(volume, shape, affine, np.eye(4))
    assert out.data.dtype == np.uint8
    assert out.kind == "labels"
    # Each is the label of the nearest voxel.
    at = transform_points(np.linalg.inv(volume.affine) @ affine, voxel_positions(shape).astype(float))
    nearest = tuple(np.moveaxis(np.rint(at).astype(int), -1, 0))
    inside = ~outside_of(labels.shape, at) & (np.abs(at - np.rint(at)) < 0.49).all(-1)
    assert inside.sum() > 10000
    np.testing.assert_array_equal(out.data[inside], labels[tuple(i[inside] for i in nearest)])
    assert set(np.unique(out.data)) == {0, 3, 200}


SIGNS = {"ras": (1, 1, 1), "las": (-1, 1, 1), "lps": (-1, -1, 1)}


@pytest.mark.parametrize(
    "orientations", [("ras", "ras"), ("las", "las"), ("lps", "lps"), ("las", "ras")], ids="-".join
)
@pytest.mark.parametrize("sizes", [((9, 10, 11), (12, 9, 11)), ((10, 10, 10), (15, 7, 20))])
def test_centre_translation_is_what_centring_both_does(sizes, orientations):
    """Scans crop_or_pad in one even grid, as in training, lie on each other voxel by voxel."""
    volumes = []
    for place, (shape, name) in enumerate(zip(sizes, orientations, strict=True)):
        affine = grid(shape, np.diag(np.array(SIGNS[name]) * (1.0, 2.0, 0.5)))
        affine[:3, 3] += 7 * place
        volumes.append(Volume(np.ones(shape), affine))
    in_training = [crop_or_pad(to_canonical(v), (16, 8, 24)) for v in volumes]
    expected = in_training[0].affine @ np.linalg.inv(in_training[1].affine)
    np.testing.assert_allclose(centre_translation(*volumes), expected, atol=1e-9)


def test_centre_translation_in_two_dimensions():
    moving, fixed = Volume(np.ones([9, 10]), np.eye(4)), Volume(np.ones([13, 8]), np.eye(4))
    expected = crop_or_pad(moving, (16, 16)).affine @ np.linalg.inv(crop_or_pad(fixed, (16, 16)).affine)
    np.testing.assert_array_equal(centre_translation(moving, fixed), expected)


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_warp_volume_by_whole_voxels(rng, kind):
    data = rng.integers(1, 9, (6, 7, 8)).astype(np.int16)
    displacement = np.broadcast_to(np.float32([2, -1, 0]), (6, 7, 8, 3))
    affine = grid(data.shape, np.diag([-1.5, 2, 0.7]))
    out = warp_volume(Volume(data, affine, kind), displacement, affine)
    np.testing.assert_array_equal(out.data[:-2, 1:], data[2:, :-1])
    for outside in (out.data[-2:], out.data[:, 0]):
        assert (outside == (0 if kind == "labels" else data.min())).all()
    filled = warp_volume(Volume(data, affine, kind), displacement, affine, fill=17)
    assert (filled.data[-2:] == 17).all()
    assert out.data.dtype == (np.int16 if kind == "labels" else np.float32)
    assert out.kind == kind


@pytest.mark.parametrize("source", GRIDS)
def test_warp_volume_between_grids(source):
    """A displacement in voxels of its own grid, whatever the grid of what is moved."""
    shape, linear = GRIDS["anisotropic"]
    affine = grid(shape, linear)
    millimetres = np.array([3.0, -2.0, 4.0])
    displacement = np.broadcast_to(np.linalg.solve(linear, millimetres), (*shape, 3)).astype(np.float32)
    out = warp_volume(blob_on(source), displacement, affine)
    np.testing.assert_allclose(centre_of_mass(out), BLOB - millimetres, atol=0.1)


def test_sample_field_repeats_its_edges():
    field = voxel_positions([4, 5])
    at = np.array([[1.25, 2.5], [-3, 2], [9, 9]])
    np.testing.assert_allclose(sample_field(field, at), [[1.25, 2.5], [0, 2], [3, 4]], atol=1e-6)


@pytest.mark.parametrize("n", [2, 3])
def test_transform_points(rng, n):
    matrix = np.eye(4)
    matrix[:3] = rng.normal(size=(3, 4))
    points = rng.normal(size=(2, 5, n))
    full = np.concatenate([points, np.zeros((2, 5, 3 - n)), np.ones((2, 5, 1))], -1)
    np.testing.assert_allclose(transform_points(matrix, points), (full @ matrix.T)[..., :n])


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -1, 3), (-4, 5, 0), (40, 0, 0)])
def test_whole_shifts_are_read_as_they_would_be_sampled(rng, kind, shift):
    data = rng.integers(1, 9, (7, 8, 6)).astype(np.float32 if kind == "image" else np.uint8)
    volume, grid = Volume(data, np.eye(4), kind), np.eye(4)
    grid[:3, 3] = shift
    at = np.moveaxis(np.indices((6, 9, 5)), 0, -1) + np.array(shift, float)
    found = resample(volume, (6, 9, 5), grid, np.eye(4)).data
    np.testing.assert_array_equal(found, sample(volume, at))
    assert found.dtype == sample(volume, at).dtype
    field = rng.normal(size=(7, 8, 6, 3))
    np.testing.assert_allclose(
        read_field(field, np.array(shift), (6, 9, 5)), sample_field(field, at), atol=1e-12
    )


def test_what_is_no_whole_shift():
    matrix = np.eye(4)
    assert integer_shift(matrix, 3).tolist() == [0, 0, 0]
    for change in ((0, 3, 0.5), (1, 1, 1.001), (0, 1, 0.01), (2, 2, -1.0)):
        other = matrix.copy()
        other[change[0], change[1]] = change[2]
        assert integer_shift(other, 3) is None


@pytest.mark.parametrize("spacing", [0.7, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("own", [(1.0, 1.0, 1.0), (0.5, 1.2, 2.0)])
def test_respaced_keeps_world_positions(spacing, own):
    """A ramp of world positions is read off at the new voxels; the field of view stays."""
    affine = np.diag([*own, 1.0])
    affine[:3, 3] = -3, 5, 7
    shape = (24, 20, 18)
    world = transform_points(affine, voxel_positions(shape).astype(float))
    ramp = Volume((world @ [1.0, 2.0, -1.0]).astype(np.float32), affine)
    out = resample_to_spacing(ramp, spacing)
    assert out.spacing == pytest.approx([spacing] * 3)
    extent = np.array(out.shape) * spacing
    np.testing.assert_allclose(extent, np.array(shape) * own, atol=spacing / 2 + 1e-6)
    corner = transform_points(affine, np.full(3, -0.5))
    np.testing.assert_allclose(transform_points(out.affine, np.full(3, -0.5)), corner, atol=1e-9)
    there = transform_points(out.affine, voxel_positions(out.shape).astype(float)) @ [1.0, 2.0, -1.0]
    inside = (slice(3, -3),) * 3
    np.testing.assert_allclose(out.data[inside], there[inside], atol=1e-3)


def test_respaced_smooths_images_and_reads_labels():
    checks = (np.indices((16, 16, 16)).sum(0) % 2).astype(np.uint8)
    image = resample_to_spacing(Volume(checks.astype(np.float32), np.eye(4)), 2.0).data
    assert np.abs(image[1:-1, 1:-1, 1:-1] - 0.5).max() < 0.1
    labels = resample_to_spacing(Volume(7 * checks, np.eye(4), "labels"), 2.0).data
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, 7}


@pytest.mark.parametrize("axes", ["RAS", "LIA", "PSR", "ILP"])
@pytest.mark.parametrize("shape", [(6, 6, 6), (4, 5, 6)])
def test_labels_in_other_axes_are_brought_onto_their_image(rng, axes, shape):
    """nibabel turns the label map; its voxels come back exactly."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -70, 5, 11
    labels = nib.Nifti1Image(rng.integers(0, 9, shape).astype(np.int16), affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    turned = labels.as_reoriented(turn)
    image = Volume(rng.random(shape), affine)
    got = onto(Volume(np.asarray(turned.dataobj), turned.affine, "labels", header=turned.header), image)
    np.testing.assert_array_equal(got.data, np.asarray(labels.dataobj))
    np.testing.assert_array_equal(got.affine, affine)


def test_a_label_map_without_an_affine_lies_on_its_image(rng):
    labels = Volume(rng.integers(0, 3, (4, 5, 6)), np.eye(4), "labels")
    assert onto(labels, Volume(rng.random((4, 5, 6)), np.diag([2.0, 3.0, 4.0, 1.0]))) is labels


@pytest.mark.parametrize(("shape", "shift", "part"), [((4, 5, 7), 0, "shape"), ((4, 5, 6), 99, "elsewhere")])
def test_a_label_map_of_another_image_is_refused(rng, shape, shift, part):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = Volume(rng.random((4, 5, 6)), affine)
    moved = affine.copy()
    moved[0, 3] += shift
    with pytest.raises(InputError, match=part):
        onto(Volume(np.ones(shape, np.uint8), moved, "labels"), image)
