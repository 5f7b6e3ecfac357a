"""The result of a registration: it saves itself, shows itself, and speaks to other libraries."""

from __future__ import annotations

import base64
import json
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy.ndimage import gaussian_filter

import bilevelmorph as bm
from bilevelmorph.errors import InputError
from bilevelmorph.io.images import as_volume
from bilevelmorph.io.warps import load_warp

AFFINE = np.array([[-1.2, 0.1, 0, 20], [0.1, 1.0, 0.2, -30], [0, -0.2, 1.5, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    scans = [gaussian_filter(rng.random((20, 22, 18)), 2).astype(np.float32) for _ in range(2)]
    grid = np.linalg.svd(AFFINE[:3, :3])
    straight = AFFINE.copy()
    straight[:3, :3] = grid[0] @ grid[2] * [1.2, 1.0, 1.5]  # rotated, not sheared
    return bm.Volume(scans[0], straight, name="moving"), bm.Volume(scans[1], straight, name="fixed")


@pytest.fixture(scope="module")
def result(pair):
    return bm.register(*pair, "general", inverse=True)


def as_sitk(volume, tmp_path):
    bm.save_volume(tmp_path / "scan.nii.gz", volume)
    return SimpleITK.ReadImage(str(tmp_path / "scan.nii.gz"), SimpleITK.sitkFloat32)


def test_every_kind_of_image_is_the_same_image(pair, tmp_path):
    volume = pair[0]
    bm.save_volume(tmp_path / "scan.nii.gz", volume)
    path = tmp_path / "scan.nii.gz"
    kinds = [path, str(path), nib.load(path), as_sitk(volume, tmp_path), (volume.data, volume.affine), volume]
    for image in kinds:
        found = as_volume(image)
        np.testing.assert_allclose(found.data, volume.data, atol=1e-6)
        np.testing.assert_allclose(found.affine, volume.affine, atol=1e-4)
        assert found.data.dtype == np.float32


def test_flat_images_of_simpleitk(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(12.0).reshape(3, 4))
    image.SetSpacing([2.0, 3.0])
    volume = as_volume(image)
    assert volume.shape == (4, 3)
    assert volume.data[3, 0] == 3
    assert volume.affine[:2, :2].tolist() == [[-2.0, 0], [0, -3.0]]


@pytest.mark.parametrize("image", [np.ones((4, 4)), 3, None, (np.ones((4, 4, 4, 4)), np.eye(4))])
def test_what_is_no_image(image):
    with pytest.raises(InputError):
        as_volume(image)
    with pytest.raises(InputError, match="give an array as"):
        as_volume(np.ones((4, 4)))


def test_it_saves_itself(result, tmp_path):
    files = result.save(tmp_path / "out", warp_format="itk")
    names = {
        "moved.nii.gz",
        "warp.nii.gz",
        "inverse_warp.nii.gz",
        "jacobian.nii.gz",
        "figure.png",
        "report.json",
    }
    assert {f.name for f in files} == names == {p.name for p in (tmp_path / "out").iterdir()}
    displacement, grid = load_warp(tmp_path / "out" / "warp.nii.gz")
    np.testing.assert_allclose(displacement, result.displacement, atol=1e-3)
    np.testing.assert_allclose(grid, result.fixed.affine, atol=1e-4)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["similarity_after"] == result.report["similarity_after"]


def test_it_shows_itself(result):
    page = result._repr_html_()
    picture = re.search(r"base64,([^\"]+)\"", page)[1]
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert "similarity after" in page


def test_simpleitk_moves_the_image_likewise(result, pair, tmp_path):
    moving, fixed = as_sitk(pair[0], tmp_path), as_sitk(pair[1], tmp_path)
    moved = SimpleITK.Resample(moving, fixed, result.to_sitk_transform(), SimpleITK.sitkLinear, 0.0)
    ours = result.moved.data[3:-3, 3:-3, 3:-3]
    theirs = SimpleITK.GetArrayFromImage(moved).T[3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.ptp(ours))


def test_nibabel_gets_the_moved_image(result):
    image = result.to_nibabel()
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), result.moved.data)
    np.testing.assert_allclose(image.affine, result.fixed.affine)


def test_a_warp_moves_what_goes_with_the_image(result, pair, tmp_path):
    np.testing.assert_array_equal(bm.warp(pair[0], result).data, result.moved.data)
    result.save(tmp_path)
    by_file = bm.warp(pair[0], tmp_path / "warp.nii.gz").data
    np.testing.assert_allclose(by_file, result.moved.data, atol=1e-4)
    labels = (pair[0].data > np.median(pair[0].data)).astype(np.int16)
    moved = bm.warp((labels, pair[0].affine), (result.displacement, result.fixed.affine), "labels")
    assert moved.data.dtype == np.int16
    assert set(np.unique(moved.data)) == {0, 1}
    with pytest.raises(InputError, match="3-D displacements"):
        bm.warp((labels[..., 0], np.eye(4)), result)


def test_evaluation_takes_a_network_and_a_folder(scans):
    rows = bm.evaluate(bm.networks.IdentityNetwork(2), scans, quiet=True)
    assert [row["moving"] for row in rows] == ["0.npz", "2.npz"]
    assert all(0 < row["dice"] < 1 for row in rows)
