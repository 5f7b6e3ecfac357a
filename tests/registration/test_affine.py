"""`align` recovers a linear map that is known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from bilevelmorph.data.geometry import transform_points, voxel_positions
from bilevelmorph.data.preprocessing import crop_or_pad, normalise
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.simpleitk import to_sitk
from bilevelmorph.io.volumes import load_volume
from bilevelmorph.registration import Registrar
from bilevelmorph.registration.affine import align, orientations

VOXEL = 2.0


def miss(found, truth, fixed, mask=None):
    """Largest error in millimetres over the body of the fixed image."""
    body = fixed.data > 30 if mask is None else mask
    world = transform_points(fixed.affine, voxel_positions(fixed.shape).astype(float)[body])
    return np.linalg.norm(transform_points(found, world) - transform_points(truth, world), axis=-1).max()


@pytest.mark.parametrize("name", ["rigid", "rigid far", "affine", "affine far"])
def test_recovers_a_known_map(phantoms, name):
    truth, moving, fixed = phantoms[name]
    mode = name.split()[0]
    assert miss(align(moving, fixed, "none"), truth, fixed) > 4 * VOXEL
    found = align(moving, fixed, mode)
    assert miss(found, truth, fixed) < VOXEL / 2
    if mode == "rigid":
        np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("degrees", [(90, 0, 0), (0, 180, 0), (0, 90, 90), (35, -70, 50), (160, 20, -120)])
def test_heads_that_are_turned(phantoms, degrees):
    """With a header that does not know of it."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    truth, moving, fixed = phantoms["affine"]
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    turned = Volume(moving.data, matrix @ moving.affine)
    assert miss(align(turned, fixed), matrix @ truth, fixed) < VOXEL
    said = ["one image seems to be turned against the other; an affine step turns it back"]
    untouched = Registrar(None, deformable=False)
    assert [w for w in untouched(turned, fixed).warnings if "turned" in w] == said
    assert not any("turned" in w for w in untouched(moving, fixed).warnings)


@pytest.mark.parametrize("names", [("221", "251"), ("125", "238"), ("190", "181")], ids=" to ".join)
def test_crops_that_only_seem_turned_stay_upright(shared_data, names):
    """Small images of these are more similar turned by a right angle, full ones are not."""
    folder = shared_data / "hippocampus" / "imagesTr"
    pair = (load_volume(folder / f"hippocampus_{name}.nii.gz") for name in names)
    moving, fixed = (crop_or_pad(v.with_data(normalise(v.data)), (48, 64, 48)) for v in pair)
    moving, fixed = (Volume(v.data, np.eye(4)) for v in (moving, fixed))
    left, _, right = np.linalg.svd(align(moving, fixed)[:3, :3])
    assert np.trace(left @ right) > 1 + 2 * np.cos(np.radians(30))


# Centre, half axes in millimetres, grey value.
ELLIPSES = [
    ((0, 0), (28, 22), 1.0),
    ((10, 5), (7, 9), 0.6),
    ((-9, 6), (6, 5), -0.5),
    ((2, -10), (9, 5), 0.9),
    ((-14, -8), (5, 7), 0.8),
    ((12, -9), (6, 5), -0.4),
]
PLANES = {
    "axial": np.eye(4),
    "coronal": np.array([[1, 0, 0, 3], [0, 0, -1, 40], [0, 1, 0, -2], [0, 0, 0, 1.0]]),
    "oblique": np.block(
        [[Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), np.ones((3, 1))], [0, 0, 0, 1]]
    ),
}


def head(pixels):
    """A slice of a head of a kind: ellipses without symmetry."""
    total = 0
    for centre, axes, grey in ELLIPSES:
        radius = np.linalg.norm((pixels - np.array(centre)) / axes, axis=-1)
        total = total + grey / (1 + np.exp((radius - 1) * 12))
    return total.astype(np.float32)


def slices(plane, degrees, apart=0.0):
    """Slices of one head with a known map between them, in any plane, the moving one deeper by `apart`."""
    turn = np.eye(4)
    turn[:2, :2] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()[:2, :2] @ np.diag([1.06, 0.95])
    turn[:2, 3] = 4, -3
    grid = np.diag([1.5, 1.2, 1, 1]) + np.array([[0, 0, 0, -45], [0, 0, 0, -42], [0, 0, 0, 0], [0, 0, 0, 0]])
    pixels = voxel_positions((60, 70)).astype(float)
    flat = [transform_points(m @ grid, pixels) for m in (np.linalg.inv(turn), np.eye(4))]
    deep = np.eye(4)
    deep[2, 3] = apart
    moving = Volume(head(flat[0]), plane @ deep @ grid)
    fixed = Volume(head(flat[1]), plane @ grid)
    return plane @ deep @ turn @ np.linalg.inv(plane), moving, fixed


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("degrees", "apart"), [(8, 0), (-20, 12), (170, 0)])
def test_slices(plane, degrees, apart):
    """Aligned within their plane, of whatever orientation, and from depth to depth."""
    truth, moving, fixed = slices(PLANES[plane], degrees, apart)
    corners = np.array([[0, 0, 0, 1], [59, 0, 0, 1], [0, 69, 0, 1], [59, 69, 0, 1.0]]) @ fixed.affine.T
    found = align(moving, fixed, "affine")
    np.testing.assert_allclose(corners @ found.T, corners @ truth.T, atol=1.0)
    rigid = align(moving, fixed, "rigid")[:3, :3]
    np.testing.assert_allclose(rigid @ rigid.T, np.eye(3), atol=1e-9)


def test_the_registrar_moves_slices():
    _, moving, fixed = slices(PLANES["coronal"], 15)
    result = Registrar(None, "affine", deformable=False)(moving, fixed)
    inside = (slice(15, -15),) * 2
    assert np.abs(result.moved.data - fixed.data)[inside].mean() < 0.05
    assert result.report["similarity_after"] > 0.8 > result.report["similarity_before"]


def test_any_orientation_is_near_one_that_is_tried():
    tried, any_ = Rotation.from_matrix(orientations()), Rotation.random(500, random_state=0)
    apart = np.stack([(any_ * turn.inv()).magnitude() for turn in tried]).min(0)
    assert np.degrees(apart.max()) < 45
    assert np.degrees(apart.mean()) < 30


def test_same_bits_twice(phantoms):
    _, moving, fixed = phantoms["affine"]
    np.testing.assert_array_equal(align(moving, fixed), align(moving, fixed))


def test_looks_inside_the_mask(phantoms):
    """A bright object that moved otherwise, outside the mask, does not disturb."""
    truth, moving, fixed = phantoms["rigid"]
    disturbed = fixed.data.copy()
    disturbed[2:12, 2:12, 2:38] = 160
    fixed = fixed.with_data(disturbed)
    mask = np.zeros(fixed.shape, bool)
    mask[10:32, 12:30, 6:34] = True
    disturbed[mask] = phantoms["rigid"][2].data[mask]
    assert miss(align(moving, fixed, "rigid", mask=mask), truth, fixed, mask) < VOXEL / 2


def test_looks_inside_the_mask_of_the_moving_image(phantoms):
    truth, moving, fixed = phantoms["rigid"]
    mask = np.zeros(moving.shape, bool)
    mask[8:34, 10:32, 4:36] = True
    disturbed = moving.data.copy()
    disturbed[2:12, 2:12, 2:38] = 160
    disturbed[mask] = moving.data[mask]
    moving = moving.with_data(disturbed)
    body = mask & (fixed.data > 30)
    assert miss(align(moving, fixed, "rigid", moving_mask=mask), truth, fixed, body) < VOXEL / 2


def test_intensity_scale_does_not_matter(phantoms):
    truth, moving, fixed = phantoms["rigid"]
    found = align(moving.with_data(500 - 3 * moving.data), fixed, "rigid")
    assert miss(found, truth, fixed) < VOXEL / 2


def test_the_registrar_moves_with_it(phantoms):
    """Without a model, the moved image is the linear map's."""
    truth, moving, fixed = phantoms["affine far"]
    result = Registrar(None, "affine", deformable=False)(moving, fixed)
    inside = (slice(6, -6),) * 3
    assert np.abs(result.moved.data - fixed.data)[inside].mean() < 0.1 * fixed.data[inside].mean()
    here = voxel_positions(fixed.shape).astype(float)
    there = transform_points(fixed.affine, here + result.displacement)
    np.testing.assert_allclose(
        there, transform_points(result.affine, transform_points(fixed.affine, here)), atol=1e-3
    )
    assert miss(result.affine, truth, fixed) < VOXEL / 2
    assert result.warnings == []


def test_to_sitk_keeps_world_positions(rng):
    affine = np.array([[0, -1.5, 0, 7], [2, 0, 0, -3], [0, 0, 1, 11], [0, 0, 0, 1.0]])
    volume = Volume(rng.random((4, 5, 6)).astype(np.float32), affine)
    image = to_sitk(volume)
    point = image.TransformIndexToPhysicalPoint((3, 1, 2))
    world = (affine @ (3, 1, 2, 1))[:3]
    np.testing.assert_allclose(np.array(point) * (-1, -1, 1), world)
    assert image[3, 1, 2] == volume.data[3, 1, 2]
    assert sitk.GetArrayFromImage(image).shape == (6, 5, 4)
