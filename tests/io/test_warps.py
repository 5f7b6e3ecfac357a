"""Displacements on disk and the points that they move."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from bilevelmorph.data.geometry import transform_points, voxel_positions, warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.itk import displacement_transform
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import load_warp, save_warp, warp_points

OBLIQUE = np.array([[1.1, -0.3, 0.1, -9], [0.25, 0.9, -0.2, 4], [0, 0.3, 1.6, 12], [0, 0, 0, 1]])
LPS = np.array([[-1.0, 0, 0, 20], [0, -2, 0, 30], [0, 0, 1.5, -5], [0, 0, 0, 1]])


@pytest.mark.parametrize("shape", [(5, 6), (1, 6), (5, 1), (4, 5, 6), (4, 5, 1), (4, 1, 3)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".npz"])
def test_round_trip(tmp_path, rng, shape, ending):
    path = tmp_path / f"warp{ending}"
    displacement = rng.normal(size=(*shape, len(shape))).astype(np.float32)
    save_warp(path, displacement, OBLIQUE)
    back, affine = load_warp(path)
    np.testing.assert_array_equal(back, displacement)
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-6)
    assert back.dtype == np.float32
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_nifti_says_that_it_holds_vectors(tmp_path):
    save_warp(tmp_path / "warp.nii.gz", np.zeros((4, 5, 6, 3)), OBLIQUE)
    header = nib.load(tmp_path / "warp.nii.gz").header
    assert header.get_intent()[0] == "vector"
    assert header.get_xyzt_units()[0] == "mm"


def test_npz_of_voxelmorph_is_read(tmp_path, rng):
    displacement = rng.normal(size=(4, 5, 6, 3))
    np.savez(tmp_path / "warp.npz", vol=displacement)
    back, affine = load_warp(tmp_path / "warp.npz")
    np.testing.assert_allclose(back, displacement, rtol=1e-6)
    np.testing.assert_array_equal(affine, np.eye(4))


def test_voxelmorphs_npz_is_for_the_moving_grid(tmp_path):
    np.savez(tmp_path / "warp.npz", vol=np.zeros((4, 5, 6, 3)))
    moving = Volume(np.zeros((4, 5, 6), np.float32), OBLIQUE)
    np.testing.assert_array_equal(load_warp(tmp_path / "warp.npz", moving=moving)[1], OBLIQUE)
    other = Volume(np.zeros((4, 5, 7), np.float32), OBLIQUE, name="other.nii")
    with pytest.raises(InputError, match=r"warp\.npz: got .* 4x5x6 .* expected those of other\.nii, 4x5x7"):
        load_warp(tmp_path / "warp.npz", moving=other)


@pytest.mark.parametrize("form", ["voxelmorph", "itk"])
def test_the_form_may_be_demanded(tmp_path, form):
    path = tmp_path / "warp.nii.gz"
    save_warp(path, np.ones((4, 5, 6, 3)), np.diag([-2.0, 0.5, 3.0, 1.0]), form)
    np.testing.assert_allclose(load_warp(path, form)[0], 1, atol=1e-5)
    (other,) = {"voxelmorph", "itk"} - {form}
    with pytest.raises(InputError, match=f"warp_format: got {other}, where .*, expected {form}"):
        load_warp(path, other)


@pytest.mark.parametrize("ndims", [2, 3])
def test_what_simpleitk_wrote_is_read(tmp_path, rng, ndims):
    """Millimetres along L and P there, voxels here; SimpleITK's resampler agrees."""
    field = rng.normal(size=(*(4, 5, 6)[:ndims], ndims))
    image = sitk.GetImageFromArray(np.moveaxis(field, range(ndims), range(ndims)[::-1]), isVector=True)
    image.SetSpacing([2.0, 0.5, 3.0][:ndims])
    sitk.WriteImage(image, str(tmp_path / "theirs.nii.gz"))
    displacement, affine = load_warp(tmp_path / "theirs.nii.gz")
    np.testing.assert_allclose(displacement, field / [2.0, 0.5, 3.0][:ndims], atol=1e-5)
    np.testing.assert_allclose(np.abs(np.diag(affine))[:ndims], [2.0, 0.5, 3.0][:ndims])


def nifti(data, affine=OBLIQUE, intent=None, name=""):
    def write(path):
        image = nib.Nifti1Image(data, affine)
        if intent:
            image.header["intent_code"], image.header["intent_name"] = intent, name
        nib.save(image, path)

    return write


def npz(**arrays):
    return lambda path: np.savez(path, **arrays)


GOOD = np.zeros((4, 5, 6, 3), np.float32)
BAD = {
    "missing": ("a.nii.gz", lambda path: None),
    "empty": ("a.nii.gz", lambda path: path.touch()),
    "text": ("a.npz", lambda path: path.write_text("hello\n" * 9, encoding="utf-8")),
    "an image": ("a.nii", nifti(np.ones((4, 5, 6), np.float32))),
    "two components in 3-D": ("a.nii", nifti(np.ones((4, 5, 6, 2), np.float32))),
    "four components": ("a.npz", npz(warp=np.ones((4, 5, 6, 4)))),
    "three components in 2-D": ("a.npz", npz(warp=np.ones((4, 5, 3)))),
    "5-D of two frames": ("a.nii", nifti(np.ones((4, 5, 6, 2, 3), np.float32))),
    "FSL's": ("a.nii.gz", nifti(np.ones((4, 5, 6, 3), np.float32), intent=2006)),
    "NiftyReg's": ("a.nii", nifti(np.ones((4, 5, 6, 1, 3), np.float32), intent=1007, name="NREG_TRANS")),
    "NaN": ("a.nii.gz", nifti(np.full((4, 5, 6, 3), np.nan, np.float32))),
    "infinite": ("a.npz", npz(warp=np.full((4, 5, 6, 3), np.inf))),
    "another name": ("a.npz", npz(displacement=GOOD)),
    "pickled": ("a.npz", npz(warp=np.array([{}], object))),
    "strings": ("a.npz", npz(warp=np.full((4, 5, 6, 3), "a"))),
    "singular affine": ("a.npz", npz(warp=GOOD, affine=np.zeros((4, 4)))),
    "NaN affine": ("a.npz", npz(warp=GOOD, affine=np.full((4, 4), np.nan))),
    "affine of another shape": ("a.npz", npz(warp=GOOD, affine=np.eye(3))),
    "ending": ("a.mgz", lambda path: path.touch()),
}


@pytest.mark.parametrize(("name", "write"), BAD.values(), ids=BAD)
def test_refused(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(InputError) as caught:
        load_warp(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mgz", "a.txt", "no/a.nii"])
def test_nowhere_to_write(tmp_path, name):
    with pytest.raises(InputError, match=name):
        save_warp(tmp_path / name, GOOD, OBLIQUE)
    assert list(tmp_path.iterdir()) == []


def displacement_of(world, affine, shape):
    """A map of the world as displacement in voxels of a grid."""
    voxels = np.linalg.inv(affine) @ world @ affine
    here = voxel_positions(shape).astype(float)
    return (transform_points(voxels, here) - here).astype(np.float32)


WORLD = np.array([[0.95, 0.1, 0, 2], [-0.1, 1.05, 0.05, -1], [0, 0.02, 0.9, 3], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE, LPS], ids=["identity", "oblique", "lps"])
def test_points_follow_world_arithmetic(rng, affine):
    shape = (12, 14, 10)
    displacement = displacement_of(WORLD, affine, shape)
    points = transform_points(affine, rng.uniform(0, np.array(shape) - 1, (50, 3)))
    np.testing.assert_allclose(
        warp_points(points, displacement, affine), transform_points(WORLD, points), atol=1e-4
    )


def test_points_in_two_dimensions():
    affine = np.diag([2.0, -0.5, 1, 1])
    displacement = np.broadcast_to(np.float32([1, 2]), (6, 7, 2))
    np.testing.assert_allclose(
        warp_points(np.array([[3.0, -1.0], [0, 0]]), displacement, affine), [[5, -2], [2, -1]]
    )


def test_points_beyond_the_grid_move_like_its_edge():
    displacement = np.zeros((5, 5, 5, 3), np.float32)
    displacement[-1] = 2
    out = warp_points(np.array([[50.0, 2, 2]]), displacement, np.eye(4))
    np.testing.assert_allclose(out, [[52, 4, 4]])


@pytest.mark.parametrize("fixed_affine", [OBLIQUE, LPS], ids=["oblique", "lps"])
def test_points_agree_with_images(fixed_affine):
    """What a fixed point is sent to is what the moved image shows there."""
    shape = (12, 14, 10)
    moving_affine = np.diag([0.8, -1.2, 1.0, 1.0])
    displacement = displacement_of(WORLD, fixed_affine, shape)
    for voxel in [(5, 6, 4), (3, 9, 6), (8, 4, 2)]:
        point = transform_points(fixed_affine, np.array([voxel], float))
        there = warp_points(point, displacement, fixed_affine)[0]
        # A moving image whose bright voxel lies where the point is sent.
        affine = moving_affine.copy()
        affine[:3, 3] = there - moving_affine[:3, :3] @ (7, 8, 9)
        data = np.zeros((20, 20, 20), np.float32)
        data[7, 8, 9] = 1
        moved = warp_volume(Volume(data, affine), displacement, fixed_affine).data
        assert np.unravel_index(int(moved.argmax()), shape) == voxel
        assert moved[voxel] == pytest.approx(1, abs=1e-3)


PLANES = {
    "axial": [[3, 0, 0, -95], [0, 4, 0, 6], [0, 0, 2, -85], [0, 0, 0, 1.0]],
    "coronal": [[3, 0, 0, -95], [0, 0, 3, 6], [0, 4, 0, -85], [0, 0, 0, 1.0]],
    "sagittal": [[0, 0, 2, 7], [-3, 0, 0, 95], [0, 4, 0, -85], [0, 0, 0, 1.0]],
}


@pytest.mark.parametrize("plane", PLANES)
def test_slices_of_any_plane(tmp_path, rng, plane):
    """Points follow the slice in space, and ITK agrees; warps and images are read as they were written."""
    affine = np.array(PLANES[plane])
    field = rng.uniform(-0.4, 0.4, (9, 8, 2)).astype(np.float32)
    voxels = np.array([[3, 4, 0, 1.0], [5, 2, 0, 1]])
    moved = voxels.copy()
    moved[:, :2] += [field[3, 4], field[5, 2]]
    points, expected = (affine @ voxels.T).T[:, :3], (affine @ moved.T).T[:, :3]
    np.testing.assert_allclose(warp_points(points, field, affine), expected, atol=1e-5)
    for form in ("voxelmorph", "itk"):
        save_warp(tmp_path / "w.nii.gz", field, affine, form)
        again, grid = load_warp(tmp_path / "w.nii.gz")
        np.testing.assert_allclose(again, field, atol=1e-5)
        np.testing.assert_allclose(grid, affine, atol=1e-5)
    n = 2 if plane == "axial" else 3
    flip = np.array([-1, -1, 1])[:n]
    transform = displacement_transform(field, affine)
    for point, there in zip(points, expected, strict=True):
        got = transform.TransformPoint((point[:n] * flip).tolist())
        np.testing.assert_allclose(got * flip, there[:n], atol=1e-4)
    if plane == "axial":
        np.testing.assert_allclose(warp_points(points[:, :2], field, affine), expected[:, :2], atol=1e-5)
    else:
        with pytest.raises(InputError, match="x, y and z"):
            warp_points(points[:, :2], field, affine)


@pytest.mark.parametrize("plane", PLANES)
def test_itk_finds_a_slice_where_it_lies(tmp_path, rng, plane):
    affine = np.array(PLANES[plane])
    save_volume(tmp_path / "a.nii.gz", Volume(rng.random((9, 8)).astype(np.float32), affine))
    np.testing.assert_allclose(load_volume(tmp_path / "a.nii.gz").affine, affine, atol=1e-5)
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    n = image.GetDimension()
    got = image.TransformIndexToPhysicalPoint((3, 4, 0)[:n]) * np.array([-1, -1, 1])[:n]
    np.testing.assert_allclose(got, (affine @ [3, 4, 0, 1])[:n], atol=1e-4)
